//! Secrets on the wire, and nowhere else.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus_effects::http::{Egress, EgressOptions, Encoding, Place, Placement, Request};
use nexus_effects::{Error, Watch};
use nexus_manifest::{Method, Origin};

use crate::house::{House, http_permission, options, request};
use crate::server::{Answer, Server, ok};

const SECRET: &str = "s3cr&t/k=y ü";
const PLAIN: &str = "canary-0123456789";

struct Scene {
    house: House,
    server: Server,
    egress: Egress,
}

async fn scene(answer: Answer) -> Scene {
    let (house, server) = (House::new().await, Server::tls(answer).await);
    let extra_roots = vec![server.root.clone().unwrap()];
    let egress = Egress::new(EgressOptions {
        extra_roots,
        ..options(&[&server.origin])
    })
    .unwrap();
    for (name, value) in [("odd", SECRET), ("key", PLAIN)] {
        let audience = vec![server.origin.clone()];
        house
            .vault
            .set(&name.parse().unwrap(), &value.into(), audience, "op")
            .await
            .unwrap();
    }
    Scene {
        house,
        server,
        egress,
    }
}

impl Scene {
    fn permissions(&self) -> Vec<String> {
        ["odd", "key"]
            .map(|name| secret_permission(name, &self.server.origin))
            .into()
    }

    async fn send(&self, request: Request) -> Result<nexus_effects::http::Response, Error> {
        let permit = self.house.permit_http(&request, &self.permissions()).await;
        self.egress.send(permit, request, &self.house.vault).await
    }

    fn post(&self, target: &str) -> Request {
        request(&self.server.origin, Method::Post, target)
    }
}

fn secret_permission(name: &str, origin: &Origin) -> String {
    format!("secret = {{ name = \"{name}\", audience = [\"{origin}\"] }}")
}

fn place(secret: &str, place: Place) -> Placement {
    Placement {
        secret: secret.parse().unwrap(),
        place,
    }
}

fn header(name: &str, format: &str) -> Place {
    Place::Header {
        name: name.into(),
        format: format.into(),
    }
}

#[tokio::test]
async fn each_placement_is_on_the_wire_exactly_and_in_no_payload() {
    let basic = format!(
        "authorization: Basic {}\r\n",
        STANDARD.encode(format!("user:{SECRET}"))
    );
    let message = || b"ts=1&amount=2".as_slice().into();
    // HMAC-SHA-256 computed with Python's hmac module.
    let hex = "b1928d78c57d06b78d069ac5b2a16cf57dfa81415837d05da2db2d50c86b713c";
    let b64 = STANDARD.encode(hex::decode(hex).unwrap());
    let cases: Vec<(&str, Place, Vec<String>)> = vec![
        (
            "key",
            header("Authorization", "Bearer {}"),
            vec![format!("authorization: Bearer {PLAIN}\r\n")],
        ),
        (
            "key",
            header("X-Key", "{}"),
            vec![format!("x-key: {PLAIN}\r\n")],
        ),
        (
            "odd",
            Place::Query {
                name: "api key".into(),
            },
            vec!["POST /v1?a=1&api%20key=s3cr%26t%2Fk%3Dy%20%C3%BC HTTP/1.1\r\n".into()],
        ),
        (
            "odd",
            Place::Basic {
                user: "user".into(),
            },
            vec![basic],
        ),
        (
            "odd",
            Place::Form {
                name: "pass&word".into(),
            },
            vec![
                "content-type: application/x-www-form-urlencoded\r\n".into(),
                "content-length: 52\r\n\r\na=1&pass%26word=s3cr%26t%2Fk%3Dy%20%C3%BC".replace(
                    "52",
                    &"a=1&pass%26word=s3cr%26t%2Fk%3Dy%20%C3%BC"
                        .len()
                        .to_string(),
                ),
            ],
        ),
        (
            "key",
            Place::SignatureHeader {
                name: "X-Sign".into(),
                message: message(),
                encoding: Encoding::Hex,
            },
            vec![format!("x-sign: {hex}\r\n")],
        ),
        (
            "key",
            Place::SignatureHeader {
                name: "X-Sign".into(),
                message: message(),
                encoding: Encoding::Base64,
            },
            vec![format!("x-sign: {b64}\r\n")],
        ),
        (
            "key",
            Place::SignatureQuery {
                name: "sig".into(),
                message: message(),
                encoding: Encoding::Hex,
            },
            vec![format!("POST /v1?a=1&sig={hex} HTTP/1.1\r\n")],
        ),
        (
            "key",
            Place::SignatureQuery {
                name: "sig".into(),
                message: message(),
                encoding: Encoding::Base64,
            },
            vec![format!(
                "POST /v1?a=1&sig={} HTTP/1.1\r\n",
                b64.replace('+', "%2B")
                    .replace('/', "%2F")
                    .replace('=', "%3D")
            )],
        ),
    ];
    for (name, placed, expected) in cases {
        let scene = scene(ok("fine")).await;
        let mut post = scene.post("/v1?a=1");
        post.body("a=1")
            .unwrap()
            .place(place(name, placed.clone()))
            .unwrap();
        let shown = format!("{:?} {post:?}", post.payload());
        assert!(shown.contains(&format!("{name:?}")), "{shown}");
        assert!(!shown.contains(SECRET) && !shown.contains(PLAIN));
        assert!(!format!("{:?}", scene.house.events().await).contains(PLAIN));
        scene.send(post).await.unwrap();
        let wire = scene.server.request();
        for text in expected {
            assert!(wire.contains(&text), "{placed:?}: {text:?} not in {wire:?}");
        }
        let trail = format!("{:?}", scene.house.events().await);
        assert!(!trail.contains(SECRET) && !trail.contains(PLAIN));
    }
}

#[tokio::test]
async fn several_placements_join_what_the_agent_gave() {
    let scene = scene(ok("fine")).await;
    let mut post = scene.post("/v1");
    post.header(
        "content-type",
        b"application/x-www-form-urlencoded; charset=utf-8",
    )
    .unwrap();
    post.place(place("key", Place::Form { name: "key".into() }))
        .unwrap();
    post.place(place("key", Place::Query { name: "k".into() }))
        .unwrap();
    post.place(place(
        "key",
        Place::Form {
            name: "again".into(),
        },
    ))
    .unwrap();
    post.place(place("odd", Place::Query { name: "o".into() }))
        .unwrap();
    scene.send(post).await.unwrap();
    let wire = scene.server.request();
    assert!(wire.starts_with(&format!(
        "POST /v1?k={PLAIN}&o=s3cr%26t%2Fk%3Dy%20%C3%BC HTTP/1.1\r\n"
    )));
    assert!(wire.ends_with(&format!("\r\n\r\nkey={PLAIN}&again={PLAIN}")));
}

#[tokio::test]
async fn what_comes_back_has_the_names_in_place_of_the_secrets() {
    let scene = scene(Answer::Echo).await;
    let mut post = scene.post("/v1");
    post.place(place("key", header("x-key", "{}"))).unwrap();
    post.place(place("odd", Place::Form { name: "f".into() }))
        .unwrap();
    post.place(place("odd", Place::Basic { user: "u".into() }))
        .unwrap();
    let message = b"m".as_slice().into();
    post.place(place(
        "key",
        Place::SignatureQuery {
            name: "s".into(),
            message,
            encoding: Encoding::Hex,
        },
    ))
    .unwrap();
    let response = scene.send(post).await.unwrap();
    let wire = scene.server.request();
    let signature = wire.split("s=").nth(1).unwrap()[..64].to_owned();
    let (name, echoed) = &response.headers[0];
    assert_eq!(name, "x-echo");
    for text in [
        String::from_utf8_lossy(&response.body),
        String::from_utf8_lossy(echoed),
    ] {
        assert!(text.contains("x-key: [secret:key]"), "{text}");
        assert!(text.contains("f=[secret:odd]"), "{text}");
        assert!(text.contains("?s=[secret:key]"), "{text}");
        assert!(!text.contains(PLAIN) && !text.contains("s3cr") && !text.contains(&signature));
        assert!(!text.contains(&STANDARD.encode(format!("u:{SECRET}"))));
    }
}

#[tokio::test]
async fn a_secret_in_the_agents_own_words_stops_the_request() {
    let scene = scene(ok("")).await;
    let key = || place("key", header("x-key", "{}"));
    let reversed = STANDARD.encode(format!("..{PLAIN}.."));
    let mut requests = Vec::new();
    let mut post = scene.post(&format!("/v1?leak={PLAIN}"));
    post.place(key()).unwrap();
    requests.push(post);
    for body in [
        format!("{{\"k\":\"{PLAIN}\"}}"),
        hex::encode(PLAIN),
        reversed,
    ] {
        let mut post = scene.post("/v1");
        post.body(body).unwrap().place(key()).unwrap();
        requests.push(post);
    }
    let mut post = scene.post("/v1");
    post.header("x-note", PLAIN.as_bytes())
        .unwrap()
        .place(key())
        .unwrap();
    requests.push(post);
    let mut post = scene.post("/v1");
    post.place(place("key", header("x-key", &format!("{{}} {PLAIN}"))))
        .unwrap();
    requests.push(post);
    for post in requests {
        let refused = scene.send(post.clone()).await;
        let Err(Error::Forbidden(message)) = refused else {
            panic!("{post:?}: {refused:?}")
        };
        assert!(message.contains("`key`") && !message.contains(PLAIN));
    }
    assert!(scene.server.requests().is_empty());
}

#[tokio::test]
async fn only_operator_and_manifest_together_let_a_secret_go() {
    let scene = scene(ok("")).await;
    let origin = &scene.server.origin;
    let mut post = scene.post("/v1");
    post.place(place("key", header("x-key", "{}"))).unwrap();
    let elsewhere = "https://elsewhere.example".parse().unwrap();
    for permissions in [
        vec![],
        vec![secret_permission("odd", origin)],
        vec![secret_permission("key", &elsewhere)],
    ] {
        let permit = scene.house.permit_http(&post, &permissions).await;
        let refused = scene
            .egress
            .send(permit, post.clone(), &scene.house.vault)
            .await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    }
    let set = async |value: &str| {
        let audience = vec![elsewhere.clone()];
        scene
            .house
            .vault
            .set(&"key".parse().unwrap(), &value.into(), audience, "op")
            .await
            .unwrap();
    };
    set(PLAIN).await;
    assert!(matches!(
        scene.send(post.clone()).await,
        Err(Error::Forbidden(_))
    ));
    scene
        .house
        .vault
        .delete(&"key".parse().unwrap(), "op")
        .await
        .unwrap();
    assert!(matches!(scene.send(post).await, Err(Error::NotFound(_))));
    assert!(scene.server.requests().is_empty());
    let mut plain = request(&"http://a.example".parse().unwrap(), Method::Get, "/");
    assert!(matches!(
        plain.place(place("key", header("x-key", "{}"))),
        Err(Error::Forbidden(_))
    ));
    assert!(http_permission(origin).contains(origin.as_str()));
}

#[tokio::test]
async fn placements_that_could_not_be_sent_as_shown_are_refused() {
    let origin = "https://api.example.com".parse().unwrap();
    let signature = |name: &str| Place::SignatureHeader {
        name: name.into(),
        message: "m".into(),
        encoding: Encoding::Hex,
    };
    for bad in [
        header("host", "{}"),
        header("Content-Length", "{}"),
        header("a b", "{}"),
        header("x", "Bearer"),
        header("x", "{} {}"),
        header("x", "{}\r\nx: y"),
        header("x", "{}\0"),
        header("proxy-authorization", "{}"),
        Place::Query { name: "".into() },
        Place::Query { name: "a\n".into() },
        Place::Form { name: "\0".into() },
        Place::Basic { user: "a:b".into() },
        Place::Basic { user: "a\r".into() },
        signature("transfer-encoding"),
        Place::Query {
            name: "given".into(),
        },
        header("x-given", "{}"),
    ] {
        let mut post = request(&origin, Method::Post, "/v1?given=1");
        post.header("x-given", b"1").unwrap();
        assert!(
            matches!(
                post.place(place("key", bad.clone())),
                Err(Error::Invalid(_))
            ),
            "{bad:?}"
        );
    }
    let mut get = request(&origin, Method::Get, "/v1");
    assert!(
        get.place(place("key", Place::Form { name: "a".into() }))
            .is_err()
    );
    get.place(place("key", header("authorization", "{}")))
        .unwrap();
    assert!(
        get.place(place("key", Place::Basic { user: "u".into() }))
            .is_err()
    );
    assert!(get.header("Authorization", b"x").is_err());

    let form = || place("key", Place::Form { name: "a".into() });
    let mut twice = request(&origin, Method::Post, "/");
    twice.body("b=1&%61=2").unwrap().place(form()).unwrap();
    assert!(matches!(twice.check(), Err(Error::Invalid(_))));
    let mut json = request(&origin, Method::Post, "/");
    json.place(form())
        .unwrap()
        .header("content-type", b"application/json")
        .unwrap();
    assert!(matches!(json.check(), Err(Error::Invalid(_))));
    let mut hidden = request(&origin, Method::Post, "/");
    hidden
        .place(form())
        .unwrap()
        .header("accept-encoding", b"gzip, br")
        .unwrap();
    assert!(matches!(hidden.check(), Err(Error::Invalid(_))));
}

#[tokio::test]
async fn values_that_a_header_can_not_carry_are_refused_before_the_permit_is_spent() {
    let scene = scene(ok("")).await;
    let audience = vec![scene.server.origin.clone()];
    let value = "line one\r\nx-evil: 1".into();
    scene
        .house
        .vault
        .set(&"key".parse().unwrap(), &value, audience, "op")
        .await
        .unwrap();
    for placed in [header("x-key", "{}"), Place::Basic { user: "u".into() }] {
        let mut post = scene.post("/v1");
        post.place(place("key", placed)).unwrap();
        assert!(matches!(scene.send(post).await, Err(Error::Invalid(_))));
    }
    assert!(scene.server.requests().is_empty());
}

#[tokio::test]
async fn an_edited_request_is_searched_for_what_the_invocation_has_used_before() {
    let scene = scene(ok(&format!("you once said {PLAIN}"))).await;
    let mut asked = scene.post("/asked");
    let watch = Watch::default();
    watch.add("key", PLAIN.as_bytes());
    let context = scene.house.context(&scene.permissions());
    let action = asked.action(context, 1, BTreeSet::new());
    let screened = asked.screen(&action, &scene.house.vault, &watch).await;
    screened.unwrap();
    let mut edited = action.clone();
    edited.target = edited.target.replace("/asked", "/edited");
    let answer = scene.send(asked.amended(&edited).unwrap()).await.unwrap();
    assert!(scene.server.request().contains("/edited"));
    let body = String::from_utf8_lossy(&answer.body);
    assert_eq!(body, "you once said [secret:key]");
}
