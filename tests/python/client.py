"""A client that knows no generated code: what it needs of the contract it asks the host for.

It deploys an agent, accepts its permissions, has it write, shows what is asked and says yes.
Everything that it saw goes to standard output as one JSON object.
"""

import argparse
import json
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


class Client:
    """Calls methods by name, with dictionaries as messages."""

    def __init__(self, endpoint, token):
        self.channel = grpc.insecure_channel(endpoint.removeprefix("http://"))
        self.metadata = [("authorization", f"Bearer {token}")]
        # Reflection is behind the token as well.
        intercepted = grpc.intercept_channel(self.channel, Token(self.metadata))
        self.database = ProtoReflectionDescriptorDatabase(intercepted)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def services(self):
        return sorted(self.database.get_services())

    def call(self, method, request, timeout=120):
        """One call; a list of requests is a stream, and a streamed answer is an iterator."""
        service, _, name = method.rpartition(".")
        found = self.pool.FindServiceByName(f"nexus.v1.{service}").FindMethodByName(name)
        make = message_factory.GetMessageClass(found.input_type)
        answer = message_factory.GetMessageClass(found.output_type)
        kind = ("stream" if found.client_streaming else "unary") + "_"
        kind += "stream" if found.server_streaming else "unary"
        call = getattr(self.channel, kind)(
            f"/nexus.v1.{service}/{name}",
            request_serializer=make.SerializeToString,
            response_deserializer=answer.FromString,
        )
        parse = lambda one: json_format.ParseDict(one, make())
        sent = iter([parse(one) for one in request]) if found.client_streaming else parse(request)
        answered = call(sent, metadata=self.metadata, timeout=timeout)
        if found.server_streaming:
            return (json_format.MessageToDict(one) for one in answered)
        return json_format.MessageToDict(answered)


class Token(grpc.StreamStreamClientInterceptor):
    def __init__(self, metadata):
        self.metadata = metadata

    def intercept_stream_stream(self, continuation, details, requests):
        return continuation(details._replace(metadata=self.metadata), requests)


def deploy(client, path):
    import base64

    with open(path, "rb") as file:
        component = file.read()
    size = 1 << 20
    chunks = [component[at : at + size] for at in range(0, len(component), size)]
    requests = [{"metadata": {}}]
    requests += [{"chunk": base64.b64encode(chunk).decode()} for chunk in chunks]
    answer = client.call("AgentService.DeployAgent", requests)
    if answer["state"] == "STATE_LIVE":
        return answer["agent"]
    review = client.call("ApprovalService.GetApproval", {"name": answer["approval"]})
    accept = {"name": review["agent"], "permissionsDigest": answer["permissionsDigest"]}
    return client.call("AgentService.AcceptAgent", accept)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--component", required=True)
    parser.add_argument("--input", required=True)
    arguments = parser.parse_args()

    client = Client(arguments.endpoint, arguments.token)
    agent = deploy(client, arguments.component)
    request = {"name": agent["name"], "input": arguments.input}
    waiting = client.call("InvocationService.InvokeAgent", request)
    approval = client.call("ApprovalService.GetApproval", {"name": waiting["approvals"][0]})
    decision = {
        "name": approval["name"],
        "verdict": "VERDICT_APPROVE",
        "digest": approval["digest"],
    }
    decided = client.call("ApprovalService.DecideApproval", decision)
    ended = None
    for event in client.call("InvocationService.WatchInvocation", {"name": waiting["name"]}):
        state = event.get("state", {})
        if state.get("endTime"):
            ended = state
    try:
        client.call("AgentService.GetAgent", {"name": "agents/nobody"})
        missing = None
    except grpc.RpcError as error:
        missing = [error.code().name, error.details()]
    json.dump(
        {
            "services": client.services(),
            "agent": agent,
            "waiting": waiting,
            "approval": approval,
            "decided": decided,
            "ended": ended,
            "missing": missing,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
