/// How every agent is compiled, by the forge and by the build of the host, which includes this file.
/// `unsafe` is refused: an agent's memory safety is the host's business too where it comes to reading
/// the manifest.
pub(crate) const FLAGS: &[&str] = &[
    "--crate-name=agent",
    "--edition=2024",
    "--crate-type=cdylib",
    "--target=wasm32-wasip2",
    "--error-format=json",
    "-Cpanic=abort",
    "-Copt-level=s",
    // On two cores a third faster than 2 units, of which one is always the larger by far; the component
    // grows by 2 %.
    "-Ccodegen-units=4",
    "-Clto=off",
    "-Cembed-bitcode=no",
    "-Cstrip=symbols",
    "-Funsafe_code",
];
