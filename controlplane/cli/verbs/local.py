"""The verbs about access, and the verbs that work without a running control plane."""

from __future__ import annotations

from pathlib import Path

from controlplane.cli.verbs.grammar import Operand, Option, Verb, percent, whole
from controlplane.cli.verbs.options import AS, CLOSE, DATA_DIR, LISTEN, LISTING, LOG, ROLES, RULE_FILES, labelled

ACCESS = (
    Verb(
        "login",
        "contexts:login",
        "Ask for a token, check it, and store it in a context that becomes the current one.",
        options=(
            Option("url", "Address of the control plane; by default the current context's.", "URL"),
            Option("name", "The context's name; by default the fleet's.", "NAME", offers="contexts"),
        ),
        examples=(("login --url https://llm.example.com", "your own control plane"), ("login", "with another token")),
        details="The token is not shown while you type it. When piped, it is read from standard input.",
    ),
    Verb(
        "config get-contexts",
        "contexts:get_contexts",
        "List the contexts; the current one is marked.",
        options=(AS,),
        examples=(("config get-contexts", ""),),
    ),
    Verb(
        "config current-context",
        "contexts:current_context",
        "Print the name of the current context.",
        examples=(("config current-context", ""),),
    ),
    Verb(
        "config use-context",
        "contexts:use_context",
        "Make a context the current one, in all your shells.",
        (Operand("name", "NAME", "The context's name.", offers="contexts"),),
        examples=(("config use-context prod-eu", ""),),
    ),
    Verb(
        "config set-context",
        "contexts:set_context",
        "Add a context or change its address. Its token is kept when the address stays the same.",
        (Operand("name", "NAME", "The context's name.", offers="contexts"),),
        (
            Option("url", "Address of the control plane.", "URL", required=True),
            Option("token_file", "File that holds the token; - is standard input.", "FILE", offers="files"),
        ),
        examples=(
            ("config set-context prod-eu --url https://llm.example.com --token-file token", ""),
            ("config set-context prod-eu --url https://llm.example.com", "without a token: `login` adds it"),
        ),
    ),
    Verb(
        "config delete-context",
        "contexts:delete_context",
        "Delete a context and its token.",
        (Operand("name", "NAME", "The context's name.", offers="contexts"),),
        examples=(("config delete-context prod-eu", ""),),
    ),
    Verb(
        "token create",
        "tokens:token_create",
        "Create a token and print it. It cannot be shown again.",
        options=(
            Option("name", "Name of the token: its user or purpose.", "NAME", required=True),
            Option("role", "viewer, operator, admin, gateway, alert-sender.", "ROLE", default="viewer", choices=ROLES),
            Option("expires_in", "A duration such as 30d; by default never.", "DURATION"),
            DATA_DIR,
            *LISTING,
        ),
        examples=(
            ("token create --name grafana", "with the role viewer"),
            ("token create --name ci --role operator --expires-in 30d", ""),
            ("token create --name back-in --role admin --data-dir data", "the way back in"),
        ),
        details="With --data-dir the new token is written straight into the SQLite database of that folder. "
        "That needs write access to the files, and no token.",
    ),
    Verb(
        "token list",
        "tokens:token_list",
        "List tokens. Their secrets are not kept and cannot be shown.",
        options=LISTING,
        examples=(("token list", ""),),
    ),
    Verb(
        "token revoke",
        "tokens:token_revoke",
        "Revoke a token at once.",
        (Operand("identifier", "ID", "The id that `token list` prints."),),
        CLOSE,
        examples=(("token revoke 3f2a9c10", ""),),
    ),
)

RUN = (
    Verb(
        "up",
        "local:up",
        "Run the control plane for a fleet.yaml.",
        options=(
            Option("config", "The fleet.yaml.", "FILE", "-c", read=Path, required=True, offers="files"),
            Option("listen", LISTEN, "HOST:PORT", default="127.0.0.1:8080"),
            DATA_DIR,
            Option("observe_only", "Watch and alert, never act."),
            *LOG,
        ),
        examples=(
            ("up -c fleet.yaml --observe-only", "watch first"),
            ("up -c fleet.yaml --data-dir /var/lib/controlplane", ""),
        ),
    ),
    Verb(
        "gateway",
        "gateway:gateway",
        "Run the gateway, which clients send their requests to, for a fleet.yaml.",
        options=(
            Option("config", "The fleet.yaml.", "FILE", "-c", read=Path, required=True, offers="files"),
            Option("listen", "Address for clients, as host:port; by default gateway.listen.", "HOST:PORT"),
            Option("admin", "Address for metrics and health, as host:port; by default gateway.admin.", "HOST:PORT"),
            Option("control_plane", "Control plane to follow; by default gateway.control_plane.", "URL"),
            Option("token_file", "File with the token for --control-plane.", "FILE", read=Path, offers="files"),
            DATA_DIR,
            *LOG,
        ),
        examples=(
            ("gateway -c fleet.yaml", "the data is in data/gateway"),
            ("gateway -c fleet.yaml --data-dir /var/lib/controlplane-gateway", ""),
        ),
        details="If a gateway runs with the same data folder, the new one takes its place: it takes over the listening "
        "sockets, and the one before finishes its open requests and ends.",
    ),
    Verb(
        "gateway stop",
        "gateway:stop",
        "Let the gateway of a data folder finish its open requests and end, and wait for it.",
        options=(DATA_DIR,),
        examples=(("gateway stop", "the one of data/gateway"),),
    ),
    Verb(
        "nvml-exporter",
        "local:nvml_exporter",
        "Serve this host's GPUs as canonical metrics.",
        options=(Option("listen", LISTEN, "HOST:PORT", default="127.0.0.1:9401"), *LOG),
        examples=(("nvml-exporter --listen 10.0.0.5:9401", ""),),
    ),
    Verb(
        "log-exporter",
        "local:log_exporter",
        "Count the faults in engines' logs on this host, and serve the counts as canonical metrics.",
        options=(
            Option("config", "The logs.yaml; or describe one log by the options below.", "FILE", "-c", offers="files"),
            Option("engine", "The log's engine: any, vllm, sglang, triton, trtllm, ollama, llamacpp, tgi.", "ENGINE"),
            Option("file", "A path or glob of its files; may be repeated.", "GLOB", many=True, offers="files"),
            Option("journald", "Its unit of systemd, or kernel.", "UNIT"),
            Option("docker", "Its container.", "NAME"),
            Option("model", "The engine's model in fleet.yaml.", "MODEL"),
            Option("instance", "The engine's instance, as its metrics have it.", "HOST:PORT"),
            Option("check", "Check what is given, print the logs and end."),
            Option("listen", LISTEN, "HOST:PORT", default="127.0.0.1:9402"),
            *LOG,
        ),
        examples=(
            ("log-exporter -c logs.yaml", ""),
            ("log-exporter --engine vllm --file '/var/log/vllm/*.log' --model chat", "one log, without a file"),
            ("log-exporter --engine any --journald kernel", "XIDs and killed processes"),
            ("log-exporter -c logs.yaml --check", "before a restart"),
        ),
        details="A log that cannot be read is told in the exporter's own log and in /events, and holds up no other.",
    ),
    Verb(
        "demo",
        "local:demo_run",
        "Start a demo: a real Triton, simulated vLLM servers and GPUs, a load generator, and the control plane.",
        options=(
            Option("listen", LISTEN, "HOST:PORT", default="127.0.0.1:8080"),
            DATA_DIR,
            Option("duration", "Stop after this time, such as 5m; by default at Ctrl-C.", "DURATION"),
        ),
        examples=(("demo", "until Ctrl-C"), ("demo --data-dir demo", "and keep its data")),
    ),
    Verb(
        "demo fault",
        "local:demo_fault",
        "Cause a fault in the running demo, or `clear` all faults.",
        (Operand("name", "NAME", "slow-v2, errors, down-v2, gpu-hot, vram-full or clear.", offers="faults"),),
        examples=(("demo fault gpu-hot", ""), ("demo fault clear", "")),
    ),
    Verb(
        "demo load",
        "local:demo_load",
        "Print the counts of the demo's load generator.",
        options=(AS,),
        examples=(("demo load", ""),),
    ),
)

FILES = (
    Verb(
        "check",
        "local:check",
        "Validate fleet.yaml files and print every fault with file, line and field.",
        (Operand("files", "FILE…", "fleet.yaml files.", Path, many=True, offers="files"),),
        (
            Option("strict", "Exit with 1 when there are warnings."),
            Option("gates", "Print what each model's promotions must pass, and which freeze window holds now."),
        ),
        examples=(("check fleet.yaml", ""), ("check fleet.yaml --strict", "in a pipeline")),
    ),
    Verb(
        "diff",
        "difference:diff",
        "Print what a reload of FILE would change in the running configuration. Needs an operator's token.",
        (Operand("file", "FILE", "A fleet.yaml.", Path, offers="files"),),
        LISTING,
        examples=(("diff fleet.yaml", "exit 1 when there is a difference"),),
        details="The exit code is 1 when there is a difference. Values that may hold secrets are compared and never "
        "shown.",
    ),
    Verb(
        "explain",
        "explain:explain",
        "Explain a field of fleet.yaml: its type, default and purpose.",
        (
            Operand(
                "field",
                "FIELD",
                "A field such as models.traffic.driver; by default all sections.",
                required=False,
                offers="fields",
            ),
        ),
        (AS,),
        examples=(("explain", "the sections"), ("explain models.traffic.drain_timeout", "")),
    ),
    Verb(
        "driver test",
        "driver:driver_test",
        "Test the traffic driver of a model against its own backend, and print what was found step by step.",
        (Operand("model", "MODEL", "A model of the fleet.yaml."),),
        (
            Option("config", "The fleet.yaml.", "FILE", "-c", read=Path, required=True, offers="files"),
            Option("candidate", "Version that gets a share; by default the first that is ready.", "VERSION"),
            Option(
                "share", "Percent of the requests that it gets for some seconds.", "PERCENT", default=1.0, read=percent
            ),
            Option("yes", "Set the share without asking."),
        ),
        examples=(
            ("driver test chat -c fleet.yaml", "asks before it sets a share"),
            ("driver test chat -c fleet.yaml --yes --share 5", ""),
        ),
        details="Without your consent nothing changes. The old weights come back at the end, also after Ctrl-C. No "
        "rollout of the model may run meanwhile. The exit code is 1 when a step fails.",
    ),
    Verb(
        "rules check",
        "alerting.rules:rules_check",
        "Check rule files; by default the built-in packs.",
        (RULE_FILES,),
        (Option("strict", "Exit with 1 when there are warnings."),),
        examples=(("rules check rules/*.yml", ""),),
    ),
    Verb(
        "rules test",
        "alerting.rules:rules_test",
        "Run promtool's unit tests of rules on the embedded engine.",
        (Operand("files", "FILE…", "promtool's unit-test files.", Path, many=True, offers="files"),),
        (
            Option("run", "Only tests whose name matches this regular expression.", "REGEX", many=True),
            AS,
        ),
        examples=(("rules test rules/*.test.yml", ""),),
    ),
    Verb(
        "rules list",
        "alerting.rules:rules_list",
        "List the rules of files; by default those of the built-in packs.",
        (RULE_FILES,),
        (
            Option("prometheus", "Print the rules as one Prometheus rule file, with thresholds filled in."),
            Option(
                "config",
                "List the rules of a fleet.yaml, with its thresholds.",
                "FILE",
                "-c",
                read=Path,
                offers="files",
            ),
            AS,
        ),
        examples=(("rules list -c fleet.yaml", ""), ("rules list builtin:gpu --prometheus > gpu.yml", "")),
    ),
    Verb(
        "alerts route",
        "alerting.route:alerts_route",
        "Show where an alert goes: by the running configuration, or by an alertmanager.yml.",
        (
            Operand(
                "labels", "NAME=VALUE…", "Labels of an alert. Without labels: the whole tree.", labelled, False, True
            ),
        ),
        (
            Option(
                "alertmanager_config",
                "Configuration of an Alertmanager, read without a control plane.",
                "FILE",
                read=Path,
                offers="files",
            ),
            Option("strict", "Exit with 1 when the tree has warnings."),
            *LISTING,
        ),
        examples=(
            ("alerts route severity=critical model=chat", "the running configuration"),
            ("alerts route --alertmanager-config alertmanager.yml severity=critical model=chat", "one alert"),
            ("alerts route --alertmanager-config alertmanager.yml", "the tree, and what is hardly meant in it"),
        ),
        details="Warnings name routes that get no alert, and inhibitions that reach too far.",
    ),
    Verb(
        "catalogue list",
        "local:catalogue_list",
        "List the canonical metrics and the engines that provide each.",
        options=(AS,),
        examples=(("catalogue list", ""),),
    ),
    Verb(
        "catalogue try",
        "files.catalogue:try_page",
        "Read a page of metrics once, and say which engine it is of and what the catalogue makes of it.",
        (
            Operand(
                "page", "URL|FILE", "Address of the page, by default /metrics there; or a file with it.", offers="files"
            ),
        ),
        (
            Option("token_file", "File that holds a bearer token for the page.", "FILE", read=Path, offers="files"),
            Option("ca_file", "Certificate authority that is trusted for the page.", "FILE", read=Path, offers="files"),
            Option("insecure", "Do not check the page's certificate."),
            Option("timeout", "Longest wait for the page in seconds.", "N", default=10, read=whole(1, 300)),
            Option("catalogue", "Catalogue to use instead of the built-in one.", "FILE", read=Path, offers="files"),
            Option("any_path", "Read a path that engines are known to act on, too."),
            AS,
        ),
        examples=(
            ("catalogue try http://10.0.0.9:9000/metrics", "a server whose engine is in question"),
            ("catalogue try page.prom --catalogue mine.yaml", "a draft, with a page that was kept"),
        ),
        details="For a program that the catalogue does not know it drafts an entry, to be checked line by line. Reading"
        " /metrics of TensorRT-LLM empties a queue: read /prometheus/metrics there.",
    ),
    Verb(
        "catalogue export",
        "local:catalogue_export",
        "Write recording rules that compute the canonical metrics in a Prometheus that scrapes the engines.",
        options=(
            Option("output", "File to write; by default standard output.", "FILE", "-o", read=Path, offers="files"),
            Option("job", "The scrape jobs of an engine; by default the job with its name.", "ENGINE=REGEX", many=True),
            Option("label", "A label of targets to keep.", "NAME", many=True),
        ),
        examples=(("catalogue export --job 'vllm=chat-.*' -o canonical.rules.yml", ""),),
    ),
    Verb(
        "completion",
        "shells:completion",
        "Print the script with which a shell completes `controlplane` and `cp`.",
        (Operand("shell", "SHELL", "bash, zsh or fish.", choices=("bash", "zsh", "fish")),),
        examples=(
            ("completion bash > ~/.local/share/bash-completion/completions/controlplane", "bash"),
            ("completion zsh > ~/.zfunc/_controlplane", "zsh: a folder of $fpath"),
            ("completion fish > ~/.config/fish/completions/controlplane.fish", "fish"),
        ),
    ),
)
