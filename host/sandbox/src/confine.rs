use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};

use crate::spec::Spec;

/// The newest rights asked for; a kernel that knows fewer enforces those.
const ABI_WANTED: ABI = ABI::V6;

/// Gives up every access to files but the spec's, and TCP, and signals.
///
/// File access is required, the rest is best effort: sockets are denied by the
/// system call filter whatever Landlock can do.
pub(crate) fn landlock(spec: &Spec) -> Result<(), String> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let read_exec = read | AccessFs::Execute;
    // Everything but execution; `Refer` lets a compiler make hard links.
    let write = AccessFs::from_all(ABI_WANTED) & !AccessFs::Execute;

    let failed = |error: landlock::RulesetError| format!("landlock: {error}");
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .map_err(failed)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI_WANTED))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(ABI_WANTED)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(ABI_WANTED)))
        .and_then(Ruleset::create)
        .map_err(failed)?
        .add_rules(path_beneath_rules(&spec.read, read))
        .map_err(failed)?
        .add_rules(path_beneath_rules(
            spec.read_exec.iter().chain([&spec.program]),
            read_exec,
        ))
        .map_err(failed)?;
    for path in &spec.write {
        let file =
            PathFd::new(path).map_err(|error| format!("open {}: {error}", path.display()))?;
        let access = if path.is_dir() {
            write
        } else {
            write & AccessFs::from_file(ABI_WANTED)
        };
        ruleset = ruleset
            .add_rule(PathBeneath::new(file, access))
            .map_err(failed)?;
    }
    let status = ruleset.restrict_self().map_err(failed)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err("landlock: the kernel does not enforce it".to_owned());
    }
    Ok(())
}
