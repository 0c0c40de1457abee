//! T25: over random graphs of five agents, what an agent can do does not grow by who calls it, and what a
//! person would be asked about directly is asked about through any chain.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use nexus_proto::v1;
use nexus_proto::v1::RootOrigin;
use nexus_proto::v1::approval::State;
use nexus_proto::v1::invocation::Outcome;
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host, amount, probe};
use serde_json::{Value, json};

const NODES: usize = 5;
const SPACES: [&str; 3] = ["red", "green", "blue"];

/// A small generator with a seed, so that a failure can be looked at again.
struct Dice(u64);

impl Dice {
    fn next(&mut self, sides: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }
}

/// How free an attempt was, the freest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Freedom {
    Free,
    Asked,
    Forbidden,
}

/// One agent: what it may do by itself, and whom it may call, with the class that it gives its calls.
#[derive(Debug, Default)]
struct Node {
    reads: BTreeSet<&'static str>,
    writes: BTreeSet<&'static str>,
    fetches: bool,
    calls: Vec<(usize, bool)>,
}

#[derive(Debug)]
struct Graph {
    number: usize,
    nodes: Vec<Node>,
}

impl Graph {
    fn random(number: usize, dice: &mut Dice) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        for at in 0..NODES {
            let mut node = Node {
                fetches: dice.next(2) == 0,
                ..Node::default()
            };
            for space in SPACES {
                match dice.next(3) {
                    0 => {}
                    1 => drop(node.reads.insert(space)),
                    _ => drop((node.reads.insert(space), node.writes.insert(space))),
                }
            }
            for other in (0..NODES).filter(|other| *other != at) {
                if dice.next(3) > 0 {
                    node.calls.push((other, dice.next(4) == 0));
                }
            }
            nodes.push(node);
        }
        Self { number, nodes }
    }

    fn name(&self, at: usize) -> String {
        format!("graph-{}-node-{at}", self.number)
    }

    fn component(&self, at: usize, origin: &Origin) -> Vec<u8> {
        let node = &self.nodes[at];
        let mut permissions = Vec::new();
        for space in &node.reads {
            let access = match node.writes.contains(space) {
                true => "read-write",
                false => "read",
            };
            permissions.push(format!(
                "memory = {{ space = \"{space}\", access = \"{access}\" }}"
            ));
        }
        for (peer, grave) in &node.calls {
            let class = if *grave { ", class = \"external\"" } else { "" };
            let peer = self.name(*peer);
            permissions.push(format!("peer = {{ agent = \"{peer}\"{class} }}"));
        }
        if node.fetches {
            permissions.push(probe::http(&origin.url()));
        }
        let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
        probe::component(&self.name(at), &permissions)
    }

    /// A walk without a circle, and whether one of its calls is grave.
    fn walk(&self, dice: &mut Dice) -> (Vec<usize>, bool) {
        let mut walk = vec![dice.next(NODES)];
        let mut grave = false;
        while walk.len() < NODES {
            let from = walk[walk.len() - 1];
            let onward: Vec<_> = self.nodes[from]
                .calls
                .iter()
                .filter(|(to, _)| !walk.contains(to))
                .collect();
            if onward.is_empty() || dice.next(4) == 0 {
                break;
            }
            let (to, class) = onward[dice.next(onward.len())];
            walk.push(*to);
            grave |= class;
        }
        (walk, grave)
    }
}

/// One thing to do.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Read(&'static str),
    Write(&'static str),
    Fetch,
    Send,
}

impl Deed {
    fn random(dice: &mut Dice) -> Self {
        let space = SPACES[dice.next(SPACES.len())];
        match dice.next(4) {
            0 => Self::Read(space),
            1 => Self::Write(space),
            2 => Self::Fetch,
            _ => Self::Send,
        }
    }

    /// What comes of it in the hands of a node that nobody has called.
    fn of_right(self, node: &Node) -> Freedom {
        match self {
            Self::Read(space) if node.reads.contains(space) => Freedom::Free,
            Self::Write(space) if node.writes.contains(space) => Freedom::Free,
            Self::Fetch if node.fetches => Freedom::Free,
            Self::Send if node.fetches => Freedom::Asked,
            _ => Freedom::Forbidden,
        }
    }

    fn steps(self, origin: &Origin) -> Vec<Value> {
        let open = |name: &str, access: &str| json!({ "call": "memory.space.open", "name": name, "access": access, "as": "m" });
        match self {
            Self::Read(space) => vec![
                open(space, "read"),
                json!({ "call": "memory.space.get", "on": "m", "key": "k" }),
            ],
            Self::Write(space) => vec![
                open(space, "read-write"),
                json!({ "call": "memory.space.put", "on": "m", "key": "k", "value": "v" }),
            ],
            Self::Fetch => probe::exchange(&origin.url(), "get", "/", &[]),
            Self::Send => probe::post(&origin.url(), "/", &json!({ "n": 1 })),
        }
    }
}

/// Has the first of the walk call the second, and so on to the last, which does the deed.
fn chained(graph: &Graph, walk: &[usize], deed: &[Value]) -> Vec<Value> {
    walk.iter().skip(1).rev().fold(deed.to_vec(), |steps, to| {
        let peer = graph.name(*to);
        vec![
            json!({ "call": "bus.peer.find", "name": peer, "as": "c" }),
            json!({ "call": "bus.peer.call", "on": "c", "input": steps, "as": "r" }),
            json!({ "call": "bus.pending.wait", "on": "r" }),
        ]
    })
}

/// What came of the deed at the end of a chain, and the question about it if there was one. Questions
/// about the calls are answered yes, the one about the deed no.
async fn freedom(
    client: &mut Client,
    graph: &Graph,
    walk: &[usize],
    deed: &[Value],
    root: RootOrigin,
) -> anyhow::Result<(Freedom, Option<v1::Approval>)> {
    let mut approvals = client.watch_approvals().await?;
    let request = v1::StartInvocationRequest {
        name: format!("agents/{}", graph.name(walk[0])),
        input: json!(chained(graph, walk, deed)).to_string(),
        root_origin: root.into(),
        ..v1::StartInvocationRequest::default()
    };
    let started = client.invocations.start_invocation(request).await?;
    let name = started.into_inner().name;
    let mut watcher = client.clone();
    let ended = watcher.ended(&name);
    tokio::pin!(ended);
    let mut about_the_deed = None;
    let ended = loop {
        let asked = tokio::select! {
            ended = &mut ended => break ended?,
            asked = approvals.find(|found| found.state() == State::Pending) => asked?,
        };
        if asked.capability == "bus" {
            client.decide(&asked.name, v1::Verdict::Approve).await?;
        } else {
            client.decide(&asked.name, v1::Verdict::Deny).await?;
            about_the_deed = Some(asked);
        }
    };
    // Without a handle there is nothing to go on with, and the guest says so.
    let text = match ended.outcome {
        Some(Outcome::Success(success)) => success.output,
        Some(Outcome::Failure(failure)) => failure.code,
        other => anyhow::bail!("{other:?}"),
    };
    let freedom = match &about_the_deed {
        Some(_) => Freedom::Asked,
        None if text.contains("forbidden") || text.contains("bad-step") => Freedom::Forbidden,
        None => Freedom::Free,
    };
    Ok((freedom, about_the_deed))
}

#[tokio::test]
async fn t25_what_an_agent_can_do_never_grows_by_who_calls_it() -> anyhow::Result<()> {
    let origin = Origin::json(json!({ "ok": true })).await?;
    let config = format!(
        "[egress]\nprivate_origins = [{:?}]\n[approvals]\nunattended = \"queue\"",
        origin.url()
    );
    let host = Host::builder().config(&config).start()?;
    let mut client = host.operator().await?;
    let mut dice = Dice(0x5eed_2025);
    let mut seen = BTreeSet::new();
    for number in 0..amount(5, 100) {
        let graph = Graph::random(number, &mut dice);
        for at in 0..NODES {
            client.deploy(&graph.component(at, &origin)).await?;
        }
        for _ in 0..10 {
            let (walk, grave) = graph.walk(&mut dice);
            let (deed, last) = (Deed::random(&mut dice), walk[walk.len() - 1]);
            let root = match dice.next(2) {
                0 => RootOrigin::Interactive,
                _ => RootOrigin::Ingest,
            };
            let what = format!("{deed:?} over {walk:?} (grave: {grave}, {root:?}) in {graph:?}");
            let steps = deed.steps(&origin);
            let own = deed.of_right(&graph.nodes[last]);
            let (alone, _) = freedom(&mut client, &graph, &[last], &steps, root)
                .await
                .context(what.clone())?;
            ensure!(alone == own, "{alone:?} alone: {what}");
            let (called, question) = freedom(&mut client, &graph, &walk, &steps, root)
                .await
                .context(what.clone())?;
            // Its own rights, whoever calls; and no freer than the gravest call that led there.
            let least = match grave {
                true => Freedom::Asked,
                false => Freedom::Free,
            };
            ensure!(called == own.max(least), "{called:?} when called: {what}");
            seen.insert((called, walk.len() > 1, grave));
            let Some(question) = question else { continue };
            let callers: Vec<_> = walk[..walk.len() - 1]
                .iter()
                .map(|at| format!("agents/{}", graph.name(*at)))
                .collect();
            ensure!(
                question.agent == format!("agents/{}", graph.name(last)),
                "{what}"
            );
            ensure!(question.chain == callers, "{:?}: {what}", question.chain);
            ensure!(question.root_origin() == root, "{what}");
            let untrusted = question.labels.iter().any(|label| label == "untrusted");
            ensure!(untrusted == (root == RootOrigin::Ingest), "{what}");
            let gravest = "strictest class of those calls: external";
            ensure!(question.rendering.contains(gravest) == grave, "{what}");
        }
    }
    // All of it occurred: otherwise nothing was shown.
    for freedom in [Freedom::Free, Freedom::Asked, Freedom::Forbidden] {
        ensure!(
            seen.contains(&(freedom, true, false)),
            "{freedom:?}: {seen:?}"
        );
    }
    ensure!(seen.contains(&(Freedom::Asked, true, true)), "{seen:?}");
    Ok(())
}
