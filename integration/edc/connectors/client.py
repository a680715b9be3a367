#!/usr/bin/env python3
"""The management API v3 as `edc` uses it. Every request body is written out here.

client.py describe VERSION BASE KEY NAME... | seed DIR MANY | counts DIR | fetch DIR PROVIDER ASSET | push DIR PROVIDER ASSET URL
"""
import json
import pathlib
import sys
import time
import urllib.error
import urllib.request
from collections import Counter

EDC = "https://w3id.org/edc/v0.0.1/ns/"
CONTEXT = {"@vocab": EDC, "dct": "http://purl.org/dc/terms/", "odrl": "http://www.w3.org/ns/odrl/2/"}
PROTOCOL = "dataspace-protocol-http:2025-1"


class Refused(Exception):
    def __init__(self, code, body):
        super().__init__(f"HTTP {code}: {body}")
        self.code, self.body = code, body


def call(method, url, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
    except urllib.error.HTTPError as e:
        raise Refused(e.code, e.read().decode(errors="replace")) from None
    return json.loads(text) if text else None


class Connector:
    """One connector's management API. Bodies may leave out @context."""

    def __init__(self, entry):
        self.__dict__.update(entry)

    def call(self, method, path, body=None):
        if body is not None:
            body = {"@context": CONTEXT, **body}
        return call(method, self.managementUrl + path, body, {"x-api-key": self.apiKey})

    def query(self, path, filters=(), page=500):
        """All entries: pages until one is not full, because a reply has no total."""
        found = []
        while True:
            entries = self.call("POST", path + "/request", {
                "@type": "QuerySpec", "offset": len(found), "limit": page,
                "filterExpression": [{"operandLeft": left, "operator": op, "operandRight": right} for left, op, right in filters]})
            found += entries
            if len(entries) < page:
                return found


def load(directory):
    description = json.loads(pathlib.Path(directory, "connectors.json").read_text())
    return description, {c["name"]: Connector(c) for c in description["connectors"]}


def describe(version, base, key, *names):
    base = int(base)
    connectors = []
    for i, name in enumerate(names):
        p = base + 10 * i
        connectors.append({
            "name": name, "participantId": name, "managementUrl": f"http://localhost:{p + 2}/management", "apiKey": key,
            "protocol": PROTOCOL, "protocolUrl": f"http://localhost:{p + 3}/protocol/2025-1",
            "publicUrl": f"http://localhost:{p + 5}/public", "healthUrl": f"http://localhost:{p}/api/check/readiness"})
    return {"edc": version, "backendUrl": f"http://localhost:{base + 9}", "connectors": connectors}


# ---- seed


def seed(directory, many):
    many = int(many)
    description, connectors = load(directory)
    backend, providers = description["backendUrl"], [c for n, c in connectors.items() if n != "consumer"]
    p1, p2, p3 = (providers * 3)[:3]  # fewer than three providers share the tree

    def child(document, provider):
        return {"file": document, "connectorUrl": provider.protocolUrl}

    documents = {
        "test-document": (p1, {"value": "The quick", "order": 1,
                               "transferProcesses": [child("test-document-2", p2), child("test-document-3", p3)]}),
        "test-document-2": (p2, {"value": "brown fox", "order": 2}),
        "test-document-3": (p3, {"value": "jumps over", "order": 3, "transferProcesses": [child("test-document-4", p2)]}),
        "test-document-4": (p2, {"value": "the lazy dog", "order": 4}),
        "registry": (p1, {"parts": {"test-document": ["test-document"], "wheel": ["provisioned-document"],
                                    "car": [child("test-document-2", p2), child("test-document-4", p2)]}}),
        "provisioned-document": (p1, {"value": "made on demand"}),
        "held-document": (p1, {"value": "made when released"}),
        "region-document": (p1, {"value": "never seen"}),
        "expired-document": (p1, {"value": "never seen"}),
        "short-document": (p1, {"value": "seen for five seconds"}),
        "slow-document": (p1, {"value": "worth waiting for"}),
    }
    pathlib.Path(directory, "documents.json").write_text(json.dumps({n: d for n, (_, d) in documents.items()}, indent=1))

    def only_if(left, operator, right):
        return [{"action": {"@id": "odrl:use"}, "constraint": {
            "leftOperand": {"@id": left}, "operator": {"@id": operator}, "rightOperand": right}}]

    def asset(p, name, address, terms="open", **properties):
        create(p, "/v3/assets", {"@id": name, "properties": {"terms": terms, **properties}, "dataAddress": address})

    def document(name):
        return {"type": "HttpData", "baseUrl": f"{backend}/doc/{name}"}

    terms = {"region-document": "region-us", "expired-document": "expired", "short-document": "short"}
    for name, (p, _) in documents.items():
        if name == "provisioned-document":
            asset(p, name, {"type": "ProvisionHttp", "baseUrl": f"{backend}/provision?for={name}&delay=0.5"})
        elif name == "held-document":
            asset(p, name, {"type": "ProvisionHttp", "baseUrl": f"{backend}/provision?for={name}&delay=never"})
        elif name == "slow-document":
            asset(p, name, {"type": "HttpData", "baseUrl": f"{backend}/slow/{name}"})
        elif name == "registry":
            asset(p, name, document(name), **{"dct:type": "registry"})
        else:
            asset(p, name, document(name), terms.get(name, "open"))
    asset(p1, "broken-document", {"type": "HttpData", "baseUrl": f"{backend}/broken"})
    for i in range(many):
        asset(p1, f"generated-{i}", document(f"generated-{i}"))

    policies = {
        "region-us": only_if(EDC + "region", "odrl:eq", "us"),
        "expired": only_if(EDC + "inForceDate", "odrl:lteq", "2020-01-01T00:00:00Z"),
        "short": only_if(EDC + "inForceDate", "odrl:lteq", "contractAgreement+5s"),
        "open": [],  # the last: with its contract definition a provider has a catalog (PeerExtension.java)
    }
    for p in providers:
        for name, permission in policies.items():
            create(p, "/v3/policydefinitions", {"@id": name, "policy": {
                "@context": "http://www.w3.org/ns/odrl.jsonld", "@type": "Set", "permission": permission}})
        for name in policies:
            create(p, "/v3/contractdefinitions", {
                "@id": name, "accessPolicyId": "open", "contractPolicyId": name,
                "assetsSelector": [{"operandLeft": EDC + "terms", "operator": "=", "operandRight": name}]})
    return {"documents": {n: p.name for n, (p, _) in documents.items()} | {"broken-document": p1.name}, "generated": many}


def create(connector, path, body):
    try:
        connector.call("POST", path, body)
    except Refused as e:
        if e.code != 409:  # there already: seeding twice is fine
            raise


# ---- counts


def counts(directory):
    description, connectors = load(directory)
    out = {"backend": call("GET", description["backendUrl"] + "/counts")}
    for name, c in connectors.items():
        try:
            negotiations, transfers = c.query("/v3/contractnegotiations"), c.query("/v3/transferprocesses")
            out[name] = {"negotiations": tally(negotiations, "state"), "negotiationsByAsset": tally(negotiations, "assetId"),
                         "agreements": len(c.query("/v3/contractagreements")),
                         "transfers": tally(transfers, "state"), "transfersByAsset": tally(transfers, "assetId")}
        except OSError as e:
            out[name] = {"error": str(e)}
    return out


def tally(entries, key):
    return dict(sorted(Counter(e.get(key, "") for e in entries).items()))


# ---- the walk


class Walk:
    """One document, step by step; each step is printed with the milliseconds it took."""

    def __init__(self, directory, provider, asset):
        _, connectors = load(directory)
        self.consumer, self.provider, self.asset = connectors["consumer"], connectors[provider], asset
        self.counter_party = {"counterPartyAddress": self.provider.protocolUrl, "protocol": PROTOCOL}
        self.mark = time.monotonic()

    def step(self, text):
        now = time.monotonic()
        print(f"{1000 * (now - self.mark):7.0f} ms  {text}", flush=True)
        self.mark = now

    def offer(self):
        catalog = self.consumer.call("POST", "/v3/catalog/request", {
            "@type": "CatalogRequest", **self.counter_party, "counterPartyId": self.provider.participantId,
            "querySpec": {"filterExpression": [{"operandLeft": EDC + "id", "operator": "=", "operandRight": self.asset}]}})
        # A catalog comes in the terms of its protocol: 2025-1 says dataset and hasPolicy and always answers arrays, 0.8 says
        # dcat:dataset and odrl:hasPolicy and answers the element itself when there is one.
        datasets = catalog.get("dataset")
        if not datasets:
            sys.exit(f"{self.provider.name} offers no {self.asset}")
        offer = datasets[0]["hasPolicy"][0]
        self.step(f"catalog      offer {offer['@id']}")
        return offer

    def agreement(self):
        offer = self.offer()
        negotiation = self.consumer.call("POST", "/v3/contractnegotiations", {
            "@type": "ContractRequest", **self.counter_party,
            # The offer of the catalog word for word, plus who assigns it and for what. The catalog's own @context does not do here.
            "policy": {**offer, "@context": ["http://www.w3.org/ns/odrl.jsonld", {"edc": EDC}], "assigner": self.provider.participantId, "target": self.asset}})["@id"]
        self.step(f"negotiation  {negotiation}")
        path = f"/v3/contractnegotiations/{negotiation}"
        self.wait(path, {"FINALIZED"})
        agreement = self.consumer.call("GET", path)["contractAgreementId"]
        self.step(f"FINALIZED    agreement {agreement}")
        return agreement

    def transfer(self, kind, destination, until):
        agreement = self.agreement()
        transfer = self.consumer.call("POST", "/v3/transferprocesses", {
            "@type": "TransferRequest", **self.counter_party, "contractId": agreement, "transferType": kind,
            "dataDestination": destination})["@id"]
        self.step(f"transfer     {transfer}")
        self.wait(f"/v3/transferprocesses/{transfer}", {until})
        self.step(until)
        return transfer

    def wait(self, path, wanted, seconds=60):
        end = time.monotonic() + seconds
        while (state := self.consumer.call("GET", path + "/state")["state"]) not in wanted:
            if state == "TERMINATED":
                sys.exit(f"TERMINATED: {self.consumer.call('GET', path).get('errorDetail')}")
            if time.monotonic() > end:
                sys.exit(f"still {state} after {seconds} s")
            time.sleep(0.02)


def fetch(directory, provider, asset):
    walk = Walk(directory, provider, asset)
    transfer = walk.transfer("HttpData-PULL", {"type": "HttpProxy"}, "STARTED")
    end = time.monotonic() + 10
    while True:  # the EDR is stored a moment after the state is STARTED
        try:
            edr = walk.consumer.call("GET", f"/v3/edrs/{transfer}/dataaddress")
            break
        except Refused as e:
            if e.code != 404 or time.monotonic() > end:
                raise
            time.sleep(0.02)
    walk.step(f"EDR          {edr['endpoint']}")
    try:
        document = call("GET", edr["endpoint"], headers={"Authorization": edr["authorization"]})
        walk.step("GET")
        return document
    finally:  # a PULL stays STARTED until somebody ends it
        walk.consumer.call("POST", f"/v3/transferprocesses/{transfer}/terminate", {"@type": "TerminateTransfer", "reason": "done"})
        walk.step("terminate")


def push(directory, provider, asset, url):
    walk = Walk(directory, provider, asset)
    return {"transfer": walk.transfer("HttpData-PUSH", {"type": "HttpData", "baseUrl": url}, "COMPLETED")}


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    try:
        result = {"describe": describe, "seed": seed, "counts": counts, "fetch": fetch, "push": push}[command](*rest)
    except (Refused, OSError) as e:
        sys.exit(f"edc: {e}")
    print(json.dumps(result, indent=1))
