//! How a function becomes an agent. The functions here are called by the expansion of `export!` alone.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Failure;
use crate::bindings::nexus::agent::types as wit;

/// Makes a function the agent, and puts `agent.toml` into the component.
///
/// The function takes anything that serde can deserialize, returns a [`Result`](crate::Result) of anything that
/// it can serialize, and is called once for every invocation, in an instance of its own. `agent.toml` is read
/// from the folder above the one of the invoking file, thus beside `src/`; another place can be named.
///
/// ```text
/// nexus_agent::export!(invoke);
/// nexus_agent::export!(invoke, manifest = include_bytes!("agent.toml"));
/// ```
#[macro_export]
macro_rules! export {
    ($invoke:path) => {
        $crate::__for_wasm!();
        $crate::__export!(json, $invoke, ::core::include_bytes!("../agent.toml"));
    };
    ($invoke:path, manifest = $manifest:expr) => {
        $crate::__export!(json, $invoke, $manifest);
    };
}

/// Like [`export!`](crate::export), for a function that reads and writes the JSON texts itself:
/// `fn invoke(input: String) -> Result<String>`.
#[macro_export]
macro_rules! export_raw {
    ($invoke:path) => {
        $crate::__for_wasm!();
        $crate::__export!(raw, $invoke, ::core::include_bytes!("../agent.toml"));
    };
    ($invoke:path, manifest = $manifest:expr) => {
        $crate::__export!(raw, $invoke, $manifest);
    };
}

/// An agent for the machine's own target does not link, in words that help nobody. Unit tests and
/// documentation of an agent are built for it all the same.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_wasm {
    () => {
        #[cfg(not(any(target_family = "wasm", test, doc)))]
        ::core::compile_error!(
            "an agent is a WebAssembly component: build it with `cargo build --release --target wasm32-wasip2`"
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($how:ident, $invoke:path, $manifest:expr) => {
        const _: () = {
            struct Agent;

            impl $crate::bindings::exports::nexus::agent::handler::Guest for Agent {
                fn invoke(
                    input: ::std::string::String,
                ) -> ::core::result::Result<
                    ::std::string::String,
                    $crate::bindings::nexus::agent::types::Failure,
                > {
                    $crate::__private::$how(input, $invoke)
                }
            }

    $crate::bindings::export!(Agent with_types_in $crate::bindings);

            // The linker turns this into a custom section of the core module, and componentisation and
            // `strip` leave it alone: the built file is a complete package.
            #[cfg(target_arch = "wasm32")]
            #[used]
            #[unsafe(link_section = "nexus:manifest")]
            static MANIFEST: [u8; $manifest.len()] = *$manifest;
        };
    };
}

/// Runs `invoke` on the JSON text `input`.
pub fn json<I, O, E>(
    input: String,
    invoke: impl FnOnce(I) -> Result<O, E>,
) -> Result<String, wit::Failure>
where
    I: DeserializeOwned,
    O: Serialize,
    E: Into<Failure>,
{
    let input = serde_json::from_str(&input)
        .map_err(|error| Failure::new("bad-input", error.to_string()))?;
    let output = invoke(input).map_err(Into::into)?;
    let output = serde_json::to_string(&output)
        .map_err(|error| Failure::new("bad-output", error.to_string()))?;
    Ok(output)
}

/// Runs `invoke` on `input` as it is.
pub fn raw<E: Into<Failure>>(
    input: String,
    invoke: impl FnOnce(String) -> Result<String, E>,
) -> Result<String, wit::Failure> {
    Ok(invoke(input).map_err(Into::into)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_and_output_are_json() {
        let double = |n: u32| -> crate::Result<u32> { Ok(n * 2) };
        assert_eq!(json("21".to_owned(), double).ok().as_deref(), Some("42"));
        let failure = json("\"x\"".to_owned(), double).err().map(Failure::from);
        assert_eq!(
            failure.map(|failure| failure.code).as_deref(),
            Some("bad-input")
        );
    }

    #[test]
    fn an_error_reaches_the_caller_with_its_code() {
        let refuse =
            |_: ()| -> crate::Result<()> { Err(crate::Error::Forbidden("kb-08".to_owned())) };
        let failure = json("null".to_owned(), refuse).err().map(Failure::from);
        assert_eq!(failure, Some(Failure::new("forbidden", "forbidden: kb-08")));
    }
}
