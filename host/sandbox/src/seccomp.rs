use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Refused with "operation not permitted". `socketpair` is not among them:
/// starting a process needs it, and it reaches nobody outside.
const DENIED: &[libc::c_long] = &[
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Leaving the process group would outlive the kill at the end.
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_bpf,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    // What Landlock does not look at: the owner, mode, times and attributes of any file that the
    // user may change, by its path. By an open file, its own, a program may.
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    // The length of such a file, which Landlock looks at from ABI 3 on.
    libc::SYS_truncate,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
];

/// `fchmodat2`, whose number is the same on every architecture.
const FCHMODAT2: libc::c_long = 452;

/// The bit that marks a call by the x32 convention, which shares the
/// architecture code of x86-64 and so would pass a filter on plain numbers.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;

/// Calls that x32 numbers on its own: ptrace, process_vm_readv, _writev.
#[cfg(target_arch = "x86_64")]
const X32_DENIED: &[i64] = &[X32 | 521, X32 | 539, X32 | 540];

const NEW_NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// Installs the filters in the calling thread; they last over exec.
pub(crate) fn install() -> Result<(), String> {
    let failed = |error: seccompiler::Error| format!("seccomp: {error}");
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for number in DENIED {
        denied.insert(*number, Vec::new());
        #[cfg(target_arch = "x86_64")]
        denied.insert(*number | X32, Vec::new());
    }
    #[cfg(target_arch = "x86_64")]
    for number in X32_DENIED {
        denied.insert(*number, Vec::new());
    }
    for (number, rules) in [
        (libc::SYS_clone, namespace_rules()),
        (libc::SYS_prlimit64, other_process_rules()),
    ] {
        let rules = rules.map_err(|error| failed(error.into()))?;
        #[cfg(target_arch = "x86_64")]
        denied.insert(number | X32, rules.clone());
        denied.insert(number, rules);
    }
    let denied = program(denied, libc::EPERM).map_err(failed)?;
    // The flags of clone3 lie behind a pointer where no filter can look.
    // "Not implemented" makes the C library fall back to clone.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let clone3 = program(clone3, libc::ENOSYS).map_err(failed)?;
    seccompiler::apply_filter(&clone3).map_err(failed)?;
    seccompiler::apply_filter(&denied).map_err(failed)
}

/// Matches a clone that asks for any new namespace.
fn namespace_rules() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    (0..u64::BITS)
        .map(|bit| 1u64 << bit)
        .filter(|flag| NEW_NAMESPACES & flag != 0)
        .map(|flag| {
            SeccompRule::new(vec![SeccompCondition::new(
                0,
                SeccompCmpArgLen::Qword,
                SeccompCmpOp::MaskedEq(flag),
                flag,
            )?])
        })
        .collect()
}

/// Matches a call whose first argument names another process than the caller.
fn other_process_rules() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let other = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0)?;
    Ok(vec![SeccompRule::new(vec![other])?])
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: i32,
) -> Result<BpfProgram, seccompiler::Error> {
    let architecture: TargetArch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.cast_unsigned()),
        architecture,
    )?;
    Ok(filter.try_into()?)
}
