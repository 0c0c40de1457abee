use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    add: Option<String>,
    done: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Task {
    text: String,
    done: bool,
}

#[derive(Serialize)]
struct Output {
    open: Vec<String>,
}

fn key(number: u32) -> String {
    format!("task/{number:04}")
}

fn invoke(input: Input) -> Result<Output> {
    let space = memory::space("todo")?;
    if let Some(text) = input.add {
        let mut number = 1;
        for entry in space.scan("task/") {
            entry?;
            number += 1;
        }
        space.put_json(key(number), &Task { text, done: false })?;
    }
    if let Some(number) = input.done {
        match space.get_json::<Task>(key(number))? {
            Some(task) => space.put_json(key(number), &Task { done: true, ..task })?,
            None => fail!("no-such-task", "there is no task {number}"),
        };
    }
    let mut open = Vec::new();
    for entry in space.scan("task/") {
        let task: Task = entry?.json()?;
        if !task.done {
            open.push(task.text);
        }
    }
    Ok(Output { open })
}

nexus_agent::export!(invoke);
