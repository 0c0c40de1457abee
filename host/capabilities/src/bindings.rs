//! The host's side of the world, generated from `wit/`.
#![allow(
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "nexus:agent/trusted-agent",
    imports: { default: async | trappable },
    with: {
        "nexus:agent/vault.secret": crate::vault::Secret,
        "nexus:agent/memory.space": crate::memory::Space,
        "nexus:agent/http.origin": crate::http::Origin,
        "nexus:agent/http.request": crate::http::Request,
        "nexus:agent/http.pending": crate::http::Pending,
        "nexus:agent/bus.peer": crate::bus::Peer,
        "nexus:agent/bus.pending": crate::bus::Pending,
    },
    require_store_data_send: true,
});
