"""What the manifests promise, checked on what the overlays render.

`rules.py check DIRECTORY` checks DIRECTORY/OVERLAY.yaml of each overlay. `rules.py own FILE` prints the objects of FILE
that are part of Kubernetes itself.
"""

import ipaddress
import pathlib
import sys
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
SERVICES = {"auth-service": 8081, "user-service": 8082, "resource-service": 8083}


class Broken(Exception):
    """A promise that is not kept."""


def demand(condition, problem):
    if not condition:
        raise Broken(problem)


def read(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


class Overlay:
    """What an overlay renders."""

    def __init__(self, name, objects):
        self.name = name
        self.objects = objects

    def all(self, *kinds):
        return [o for o in self.objects if o["kind"] in kinds]

    def one(self, kind, name):
        found = [o for o in self.all(kind) if o["metadata"]["name"] == name]
        demand(len(found) == 1, f"there are {len(found)} of {kind} {name}")
        return found[0]

    def pods(self):
        """The name and the pod template of each workload."""
        return [(o["metadata"]["name"], o["spec"]["template"]) for o in self.all("Deployment", "StatefulSet")]


def containers(template):
    return template["spec"].get("initContainers", []) + template["spec"]["containers"]


def environment(overlay, container):
    """The variables that a container gets."""
    variables = {}
    for source in container.get("envFrom", []):
        variables |= overlay.one("ConfigMap", source["configMapRef"]["name"])["data"]
    return variables | {variable["name"]: variable["value"] for variable in container.get("env", [])}


def main_container(template):
    return template["spec"]["containers"][0]


def matches(selector, labels):
    """Whether a label selector selects these labels."""
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    for rule in selector.get("matchExpressions", []):
        demand(rule["operator"] == "In", f"{rule['operator']} is not an operator that is understood here")
        exact = exact and labels.get(rule["key"]) in rule["values"]
    return exact


def the_configuration_has_known_keys_only(overlay):
    for name in SERVICES:
        defaults = tomllib.loads((ROOT / name / "config/default.toml").read_text())
        template = overlay.one("Deployment", name)["spec"]["template"]
        for container in containers(template):
            for variable in environment(overlay, container):
                section, _, key = variable.removeprefix("SIGNET__").lower().partition("__")
                known = defaults.get(section, {})
                demand(
                    variable.startswith("SIGNET__") and (key in known or key.removesuffix("_file") in known),
                    f"{name} has no key for {variable}",
                )


def the_ports_agree(overlay):
    for name, port in SERVICES.items():
        template = overlay.one("Deployment", name)["spec"]["template"]
        container = main_container(template)
        demand(container["ports"] == [{"name": "http", "containerPort": port}], f"{name} has another port")
        bind = environment(overlay, container)["SIGNET__SERVER__BIND"]
        demand(bind == f"0.0.0.0:{port}", f"{name} listens at {bind}")
        service = overlay.one("Service", name)["spec"]
        demand(service["ports"] == [{"name": "http", "port": port, "targetPort": "http"}], f"{name}: its Service")
    for name in SERVICES:
        variables = environment(overlay, main_container(overlay.one("Deployment", name)["spec"]["template"]))
        for variable, value in variables.items():
            if variable.startswith("SIGNET__SERVICES__") and variable.endswith("_URL"):
                peer = value.removeprefix("http://").split(":")[0]
                demand(value == f"http://{peer}:{SERVICES.get(peer)}", f"{name}: {variable} is no service's address")


def each_service_has_all_that_belongs_to_it(overlay):
    for name in SERVICES:
        template = overlay.one("Deployment", name)["spec"]["template"]
        labels = template["metadata"]["labels"]
        demand(overlay.one("Deployment", name)["spec"]["selector"]["matchLabels"].items() <= labels.items(), name)
        demand(overlay.one("Service", name)["spec"]["selector"].items() <= labels.items(), f"{name}: its Service")
        demand(matches(overlay.one("PodDisruptionBudget", name)["spec"]["selector"], labels), f"{name}: its budget")
        demand(template["spec"]["serviceAccountName"] == name, f"{name} has another service account")
        demand(overlay.one("ServiceAccount", name)["automountServiceAccountToken"] is False, f"{name}: a token")
        spread = template["spec"]["topologySpreadConstraints"]
        demand(all(matches(c["labelSelector"], labels) for c in spread), f"{name}: what spreads it")
        if overlay.name != "local":
            target = overlay.one("HorizontalPodAutoscaler", name)["spec"]["scaleTargetRef"]
            demand(target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, f"{name}: its autoscaler")
            demand("replicas" not in overlay.one("Deployment", name)["spec"], f"{name}: an apply undoes the autoscaler")


def the_probes_ask_what_they_should(overlay):
    for name in SERVICES:
        container = main_container(overlay.one("Deployment", name)["spec"]["template"])
        asked = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        alive, ready = {"path": "/healthz", "port": "http"}, {"path": "/readyz?exclude=feed,keys", "port": "http"}
        demand(asked == {"startupProbe": alive, "livenessProbe": alive, "readinessProbe": ready}, f"{name}: {asked}")


def there_is_time_to_stop(overlay):
    for name in SERVICES:
        template = overlay.one("Deployment", name)["spec"]["template"]
        container = main_container(template)
        sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        finish = int(environment(overlay, container)["SIGNET__SERVER__SHUTDOWN_TIMEOUT_SECONDS"])
        grace = template["spec"]["terminationGracePeriodSeconds"]
        demand(grace >= sleep + finish + 5, f"{name}: {grace} s is too short for {sleep} s and {finish} s")


def an_init_container_migrates_and_sees_the_database_only(overlay):
    for name in SERVICES:
        template = overlay.one("Deployment", name)["spec"]["template"]
        (init,) = template["spec"]["initContainers"]
        demand(init["args"] == ["--migrate"], f"{name}: {init['args']}")
        demand(init["image"] == main_container(template)["image"], f"{name} migrates with another image")
        demand([mount["name"] for mount in init["volumeMounts"]] == ["database"], f"{name} migrates with more secrets")
        migrate = environment(overlay, main_container(template))["SIGNET__DATABASE__MIGRATE"]
        demand(migrate == "false", f"{name} migrates by itself, too")


def needed_secrets(overlay):
    """What the workloads read from Secrets: pairs of a Secret and its key."""
    needed = set()
    for name, template in overlay.pods():
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        for container in containers(template):
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            for variable, path in environment(overlay, container).items():
                if not variable.endswith("_FILE"):
                    continue
                directory, _, key = path.rpartition("/")
                demand(directory in mounts, f"{name}: {variable} names {path}, where nothing is mounted")
                demand("subPath" not in mounts[directory], f"{name}: a changed {path} would not arrive")
                volume = volumes[mounts[directory]["name"]]
                demand("secret" in volume, f"{name}: {path} does not come from a Secret")
                needed.add((volume["secret"]["secretName"], key))
    return needed


def the_secrets_are_there(overlay):
    needed = needed_secrets(overlay)
    if overlay.name == "local":
        offered = {(s["metadata"]["name"], key) for s in overlay.all("Secret") for key in s["data"]}
    else:
        demand(not overlay.all("Secret"), "secrets are rendered into manifests")
        examples = read(ROOT / "k8s/examples/external-secrets.yaml")
        offered = {
            (o["spec"]["target"]["name"], entry["secretKey"])
            for o in examples
            if o["kind"] == "ExternalSecret"
            for entry in o["spec"]["data"]
        }
        demand(needed == offered, f"the example has others than are needed: {needed ^ offered}")
    demand(needed <= offered, f"nobody makes {needed - offered}")
    demand(("signet-keys", "keys.json") in needed, "the key ring has another name")


def every_pod_is_restricted(overlay):
    allowed_volumes = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    for name, template in overlay.pods():
        spec = template["spec"]
        security = spec["securityContext"]
        demand(spec["automountServiceAccountToken"] is False, f"{name} has a token")
        demand(security["runAsNonRoot"] is True and security["runAsUser"] > 0, f"{name} may run as root")
        demand(security["seccompProfile"] == {"type": "RuntimeDefault"}, f"{name}: seccomp")
        demand(not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), f"{name} shares what is the host's")
        for volume in spec["volumes"]:
            demand(volume.keys() - {"name"} <= allowed_volumes, f"{name}: volume {volume['name']}")
        for container in containers(template):
            expected = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            demand(container["securityContext"] == expected, f"{name}: {container['name']}")
            for bound in ("requests", "limits"):
                demand({"cpu", "memory"} <= container["resources"][bound].keys(), f"{name}: no {bound}")
    enforced = overlay.one("Namespace", "signet")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    demand(enforced == "restricted", f"the namespace takes {enforced} pods")


class Routes:
    """The way in: which service a path goes to."""

    def __init__(self, overlay):
        self.exact, self.prefix = {}, {}
        for ingress in overlay.all("Ingress"):
            for rule in ingress["spec"]["rules"]:
                for path in rule["http"]["paths"]:
                    backend = path["backend"]["service"]
                    service = overlay.one("Service", backend["name"])
                    names = [port["name"] for port in service["spec"]["ports"]]
                    demand(backend["port"]["name"] in names, f"{backend} is no port of its Service")
                    self.add(path["pathType"], path["path"], backend["name"])
        for route in overlay.all("HTTPRoute"):
            gateway = overlay.one("Gateway", route["spec"]["parentRefs"][0]["name"])
            demand(gateway["metadata"]["namespace"] == route["spec"]["parentRefs"][0]["namespace"], "no such Gateway")
            for rule in route["spec"]["rules"]:
                if any(f["type"] == "RequestRedirect" for f in rule["filters"]):
                    demand("backendRefs" not in rule, "a redirect leads nowhere else")
                    continue
                removed = [f["requestHeaderModifier"]["remove"] for f in rule["filters"]]
                demand(removed == [["Forwarded"]], "a client's Forwarded would be believed")
                (backend,) = rule["backendRefs"]
                ports = [port["port"] for port in overlay.one("Service", backend["name"])["spec"]["ports"]]
                demand(backend["port"] in ports, f"{backend} is no port of its Service")
                for match in rule["matches"]:
                    self.add(match["path"]["type"], match["path"]["value"], backend["name"])

    def add(self, kind, path, service):
        table = {"Exact": self.exact, "Prefix": self.prefix, "PathPrefix": self.prefix}[kind]
        demand(path not in table, f"{path} is there twice")
        table[path] = service

    def service(self, path):
        if path in self.exact:
            return self.exact[path]
        fitting = [p for p in self.prefix if path == p or path.startswith(p.rstrip("/") + "/")]
        return self.prefix[max(fitting, key=len)] if fitting else None


def only_public_paths_are_routed(overlay):
    expected = {
        "auth-service": "/ /auth /auth/login /auth/openapi.json /.well-known/jwks.json /docs /console/page.js",
        "user-service": "/users /users/me /users/openapi.json",
        "resource-service": "/persons /persons/1 /persons/import /persons/openapi.json",
        None: "/internal /internal/revocations /internal/users /metrics /healthz /readyz /authors /usersx /x",
    }
    routes = Routes(overlay)
    for service, paths in expected.items():
        for path in paths.split():
            demand(routes.service(path) == service, f"{path} goes to {routes.service(path)} and not to {service}")


class Network:
    """Pods, namespaces and addresses, and what the NetworkPolicies let pass between them."""

    def __init__(self, overlay):
        self.policies = overlay.all("NetworkPolicy")
        # Whoever is not of the namespace `signet` has no policy here: only the other end counts.
        self.hosts = {
            "ingress controller": {"namespace": {"signet/ingress": "true"}, "labels": {}},
            "Prometheus": {"namespace": {"signet/metrics": "true"}, "labels": {}},
            "DNS": {
                "namespace": {"kubernetes.io/metadata.name": "kube-system"},
                "labels": {"k8s-app": "kube-dns"},
            },
            "API server's namespace": {"namespace": {"kubernetes.io/metadata.name": "kube-system"}, "labels": {}},
            "stranger": {"namespace": {"kubernetes.io/metadata.name": "default"}, "labels": {}},
            "namesake": {
                "namespace": {"kubernetes.io/metadata.name": "default"},
                "labels": {"app.kubernetes.io/name": "auth-service"},
            },
            "internet": {"address": "203.0.113.5"},
        }
        for name, template in overlay.pods():
            ports = {port["name"]: port["containerPort"] for c in containers(template) for port in c.get("ports", [])}
            labels = template["metadata"]["labels"]
            namespace = {"kubernetes.io/metadata.name": "signet"}
            self.hosts[name] = {"ours": True, "namespace": namespace, "labels": labels, "ports": ports}
        self.hosts["pod of our namespace"] = {"ours": True, "namespace": namespace, "labels": {}, "ports": {}}
        if overlay.name != "local":
            for number, name in enumerate(SERVICES):
                self.hosts[f"database of {name}"] = {"address": f"192.0.2.1{number}"}

    def passes(self, source, target, port, protocol="TCP"):
        source, target = self.hosts[source], self.hosts[target]
        return self.side("Egress", source, target, target, port, protocol) and self.side(
            "Ingress", target, source, target, port, protocol
        )

    def side(self, direction, subject, peer, target, port, protocol):
        if not subject.get("ours"):
            return True
        specs = [p["spec"] for p in self.policies if matches(p["spec"]["podSelector"], subject["labels"])]
        specs = [spec for spec in specs if direction in spec["policyTypes"]]
        member = {"Egress": "to", "Ingress": "from"}[direction]
        return not specs or any(
            self.is_peer(rule[member], peer) and self.is_port(rule["ports"], target, port, protocol)
            for spec in specs
            for rule in spec.get(direction.lower(), [])
        )

    @staticmethod
    def is_peer(selectors, peer):
        for selector in selectors:
            if "ipBlock" in selector:
                block = ipaddress.ip_network(selector["ipBlock"]["cidr"])
                if "address" in peer and ipaddress.ip_address(peer["address"]) in block:
                    return True
            elif "address" not in peer:
                # Without a namespaceSelector a podSelector is about the policy's own namespace.
                own = {"matchLabels": {"kubernetes.io/metadata.name": "signet"}}
                namespace = selector.get("namespaceSelector", own)
                if matches(namespace, peer["namespace"]) and matches(selector.get("podSelector", {}), peer["labels"]):
                    return True
        return False

    @staticmethod
    def is_port(rules, target, port, protocol):
        numbers = [(rule["protocol"], target.get("ports", {}).get(rule["port"], rule["port"])) for rule in rules]
        return (protocol, port) in numbers


def only_the_calls_of_the_architecture_pass(overlay):
    network = Network(overlay)
    allowed = {("auth-service", "user-service", 8082), ("user-service", "auth-service", 8081)}
    allowed.add(("resource-service", "auth-service", 8081))
    for name, port in SERVICES.items():
        allowed |= {("ingress controller", name, port), ("Prometheus", name, port)}
        allowed.add((name, "postgres" if overlay.name == "local" else f"database of {name}", 5432))
    allowed |= {(name, "DNS", 53) for name, host in network.hosts.items() if host.get("ours")}
    tried = 0
    for source in network.hosts:
        for target in network.hosts:
            ours = network.hosts[source].get("ours") or network.hosts[target].get("ours")
            if source == target or not ours:
                continue
            for port in (53, 80, 443, 5432, 6443, 8081, 8082, 8083):
                tried += 1
                passes = network.passes(source, target, port)
                demand(passes == ((source, target, port) in allowed), f"{source} to {target}:{port}: {passes}")
    demand(network.passes("auth-service", "DNS", 53, "UDP"), "names cannot be looked up")
    return f"{tried} connections, {len(allowed)} of them pass"


RULES = [
    the_configuration_has_known_keys_only,
    the_ports_agree,
    each_service_has_all_that_belongs_to_it,
    the_probes_ask_what_they_should,
    there_is_time_to_stop,
    an_init_container_migrates_and_sees_the_database_only,
    the_secrets_are_there,
    every_pod_is_restricted,
    only_public_paths_are_routed,
    only_the_calls_of_the_architecture_pass,
]


def check(directory):
    failed = 0
    for path in sorted(pathlib.Path(directory).glob("*.yaml")):
        overlay = Overlay(path.stem, read(path))
        for rule in RULES:
            what = rule.__name__.replace("_", " ")
            try:
                detail = rule(overlay)
            except (Broken, KeyError) as problem:
                failed += 1
                print(f"{overlay.name}: {what}: BROKEN: {problem}")
            else:
                print(f"{overlay.name}: {what}" + (f" ({detail})" if detail else ""))
    return 1 if failed else 0


def own(path):
    """What Kubernetes itself defines: kinds of a group without a dot, or of one of its own."""
    for document in read(pathlib.Path(path)):
        group = document["apiVersion"].rpartition("/")[0]
        if "." not in group or (group.endswith(".k8s.io") and not group.startswith("gateway.")):
            # `kind` first, so that objects can be counted by line.
            print("---\nkind: " + document["kind"])
            print(yaml.safe_dump({key: value for key, value in document.items() if key != "kind"}), end="")
    return 0


if __name__ == "__main__":
    sys.exit({"check": check, "own": own}[sys.argv[1]](sys.argv[2]))
