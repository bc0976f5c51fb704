"""check-kubernetes.py MANIFESTS RULES: validates built manifests, and writes the queries that scale as a rule file for
promtool. Run by check-deploy, which provides the validator."""

import re
import sys
import tomllib

import kubernetes_validate
import yaml

VERSION = "1.33"
# The fields of the operators' kinds that are used here, as their custom resource definitions name and type them
# (prometheus-operator 0.8x monitoring.coreos.com/v1, KEDA 2.1x keda.sh/v1alpha1); another one is a mistake or belongs here.
TEXTS = {str: str}
POLICY = {"type": str, "value": int, "periodSeconds": int}
TRIGGER = {"type": str, "metricType": str, "metadata": TEXTS, "authenticationRef": {"name": str}}
RULE = {"record": str, "alert": str, "expr": str, "for": str, "labels": TEXTS, "annotations": TEXTS}
SPECS = {
    "ServiceMonitor": {
        "selector": {"matchLabels": TEXTS},
        "jobLabel": str,
        "endpoints": [{"port": str, "interval": str, "scrapeTimeout": str}],
    },
    "PrometheusRule": {"groups": [{"name": str, "rules": [RULE]}]},
    "TriggerAuthentication": {"secretTargetRef": [{"parameter": str, "name": str, "key": str}]},
    "ScaledObject": {
        "scaleTargetRef": {"name": str},
        "minReplicaCount": int,
        "maxReplicaCount": int,
        "pollingInterval": int,
        "cooldownPeriod": int,
        "fallback": {"failureThreshold": int, "replicas": int},
        "advanced": {
            "horizontalPodAutoscalerConfig": {
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": int, "policies": [POLICY]}}
            }
        },
        "triggers": [TRIGGER],
    },
}
# https://keda.sh/docs/2.17/scalers/rabbitmq-queue/ and …/prometheus/: what each trigger's metadata may hold.
METADATA = {
    "rabbitmq": {"protocol", "mode", "queueName", "excludeUnacknowledged", "value", "activationValue"},
    "prometheus": {"serverAddress", "query", "threshold", "activationThreshold"},
}
wrong = []


def fits(value, form, where):
    """Notes where `value` has a field or a type that `form` has not."""
    if isinstance(form, type):
        if type(value) is not form:
            wrong.append(f"{where}: {value!r} is no {form.__name__}")
    elif isinstance(form, list):
        if not isinstance(value, list) or not value:
            wrong.append(f"{where}: no list, or an empty one")
        else:
            for nth, item in enumerate(value):
                fits(item, form[0], f"{where}[{nth}]")
    elif not isinstance(value, dict):
        wrong.append(f"{where}: no table")
    else:
        for key, item in value.items():
            if key not in form and str not in form:
                wrong.append(f"{where}: unknown field {key}")
            else:
                fits(item, form.get(key, form.get(str)), f"{where}.{key}")


def seconds(text):
    return float(text.rstrip("s"))


resources = [each for each in yaml.safe_load_all(open(sys.argv[1])) if each]
by_kind = {}
for resource in resources:
    kind, name = resource["kind"], resource["metadata"]["name"]
    by_kind.setdefault(kind, []).append(resource)
    if kind in SPECS:
        fits(resource["spec"], SPECS[kind], f"{kind} {name}")
    else:
        try:
            kubernetes_validate.validate(resource, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            wrong.append(f"{kind} {name}: {error.message}")
    if kind != "Namespace" and resource["metadata"].get("namespace") != "hookbro":
        wrong.append(f"{kind} {name}: not in the namespace")
if missing := {"Deployment", "PodDisruptionBudget", "NetworkPolicy", *SPECS} - by_kind.keys():
    wrong.append(f"missing: {sorted(missing)}")

defaults = tomllib.load(open("config/default.toml", "rb"))
deployment = by_kind["Deployment"][0]["spec"]
pod = deployment["template"]["spec"]
container = pod["containers"][0]
labels = deployment["template"]["metadata"]["labels"].items()
for kind in ("PodDisruptionBudget", "NetworkPolicy", "Service"):
    spec = by_kind[kind][0]["spec"]
    selector = spec.get("podSelector") or spec["selector"]
    if not (selector.get("matchLabels") or selector).items() <= labels:
        wrong.append(f"{kind} does not select the pods")
if pod["terminationGracePeriodSeconds"] <= seconds(defaults["shutdown"]["grace"]):
    wrong.append("the pod is killed before shutdown.grace is over")
ports = {port["name"]: port["containerPort"] for port in container["ports"]}
config = tomllib.loads(by_kind["ConfigMap"][0]["data"]["hookbro.toml"])
if config["admin"]["listen"] != f"0.0.0.0:{ports['http']}":
    wrong.append("the pages are served on another port than probed")
mounted = {item["path"] for volume in pod["volumes"] if "secret" in volume for item in volume["secret"]["items"]}
for section, keys in config.items():
    for key, value in keys.items():
        if key.removesuffix("_file") not in defaults.get(section, {}):
            wrong.append(f"hookbro.toml: unknown key {section}.{key}")
        if key.endswith("_file") and value.rsplit("/", 1)[-1] not in mounted:
            wrong.append(f"hookbro.toml: {value} is not mounted")

# One alert is enough to mend in two places.
if by_kind["PrometheusRule"][0]["spec"] != yaml.safe_load(open("deploy/prometheus/alerts.yml")):
    wrong.append("prometheusrule.yaml and deploy/prometheus/alerts.yml differ")

triggers = by_kind["ScaledObject"][0]["spec"]["triggers"]
for trigger in triggers:
    if unknown := trigger["metadata"].keys() - METADATA.get(trigger["type"], set()):
        wrong.append(f"trigger {trigger['type']}: unknown {sorted(unknown)}")
    if trigger["metadata"].get("queueName", defaults["broker"]["queue"]) != defaults["broker"]["queue"]:
        wrong.append("KEDA looks at another queue than broker.queue")
queries = [trigger["metadata"]["query"] for trigger in triggers if trigger["type"] == "prometheus"]
recorded = {rule.get("record") for group in by_kind["PrometheusRule"][0]["spec"]["groups"] for rule in group["rules"]}
for query in queries:
    for name in re.findall(r"\w+:\w+", query):
        if name not in recorded:
            wrong.append(f"KEDA asks for {name}, which no rule records")
rules = [{"record": f"scaling:query{nth}", "expr": query} for nth, query in enumerate(queries)]
yaml.safe_dump({"groups": [{"name": "scaling", "rules": rules}]}, open(sys.argv[2], "w"))

if wrong:
    sys.exit("\n".join(wrong))
print(f"{len(resources)} manifests: {', '.join(sorted(by_kind))}")
