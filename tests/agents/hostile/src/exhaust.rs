//! Uses up what the machine has.

use std::hint::black_box;
use std::time::Duration;

use nexus_agent::Result;

/// Never ends and never calls the host.
pub(crate) fn cpu() -> ! {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

/// Doubles one allocation for ever.
pub(crate) fn memory_in_one_piece() -> ! {
    let mut bytes = vec![1_u8; 1 << 20];
    loop {
        let length = bytes.len() * 2;
        bytes.resize(length, 1);
        black_box(&bytes);
    }
}

/// Allocates a kilobyte at a time for ever.
pub(crate) fn memory_in_many_pieces() -> ! {
    let mut pieces = Vec::new();
    loop {
        pieces.push(black_box(vec![1_u8; 1 << 10]));
    }
}

/// Recurses without end. What a frame holds fits the machine's stack, which is the host's to watch.
#[expect(unconditional_recursion, reason = "that is what it is for")]
pub(crate) fn stack(depth: u64) -> u64 {
    // The order of the two keeps it from becoming a loop.
    depth ^ stack(depth.wrapping_mul(31) + 1).rotate_left(7)
}

/// Recurses with frames so large that the stack within the guest's own memory ends first.
#[expect(unconditional_recursion, reason = "that is what it is for")]
pub(crate) fn frames(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    frames(depth + 1) + frame[(depth % 64) as usize]
}

/// Sleeps for a day.
pub(crate) fn wall() -> Result<String> {
    #[allow(
        clippy::disallowed_methods,
        reason = "the wall clock is what it uses up"
    )]
    std::thread::sleep(Duration::from_secs(24 * 60 * 60));
    Ok("\"awake\"".to_owned())
}

/// A JSON text of 16 MiB.
pub(crate) fn big_json() -> String {
    let mut text = String::with_capacity(16 << 20);
    text.push('"');
    text.push_str(&"x".repeat((16 << 20) - 2));
    text.push('"');
    text
}
