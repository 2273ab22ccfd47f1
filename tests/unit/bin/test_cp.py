"""`cp` with the environment active: coreutils in everything but our verbs, tested with real files and a real shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.cli.verbs.grammar import Verb, nearest
from controlplane.cli.verbs.tree import VERBS

SCRIPT = Path(__file__).parents[3] / "bin" / "cp"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A bin folder as an active environment has it: our cp, and a controlplane that echoes its arguments."""
    bin_ = tmp_path / "env" / "bin"
    bin_.mkdir(parents=True)
    (bin_ / "cp").write_bytes(SCRIPT.read_bytes())
    (bin_ / "controlplane").write_text('#!/bin/sh\nprintf "controlplane"\nprintf " [%s]" "$@"\necho\n')
    for name in ("cp", "controlplane"):
        (bin_ / name).chmod(0o755)
    return bin_


@pytest.fixture
def cp(environment: Path, tmp_path: Path) -> Run:
    work = tmp_path / "work"
    work.mkdir()

    def run(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{environment}:/usr/bin:/bin" if path is None else path, "LC_ALL": "C"}
        return subprocess.run([environment / "cp", *arguments], cwd=work, env=env, capture_output=True, text=True)

    return run


@pytest.fixture
def work(tmp_path: Path, cp: Run) -> Path:
    return tmp_path / "work"


CALLS = [
    ["status"],
    ["targets", "-o", "json"],
    ["models", "--url", "http://127.0.0.1:1"],
    ["query", "llm_requests_running"],
    ["query", "sum(rate(x[5m])) > 0", "--at", "now"],
    ["promote", "model", "v2"],
    ["promote", "model", "v2", "--dry-run", "--strategy", "blue-green"],
    ["promote", "chat", "v2", "--strategy", "canary", "--steps", "5%,25%", "--attest", "load test=run 7", "--full"],
    ["rollback", "model"],
    ["rollback", "model", "--to", "v1", "--reason", "v2 cuts answers"],
    ["rollouts", "pause", "chat", "--reason", "incident"],
    ["rollouts", "approve", "r-1"],
    ["quarantine"],
    ["quarantine", "lift", "chat", "v2", "--reason", "mended"],
    ["rollouts", "list"],
    ["rollouts", "show", "7"],
    ["alerts", "list", "--state", "firing"],
    ["alerts", "show", "0123456789abcdef"],
    ["rules", "test", "a.test.yml", "b.test.yml", "--run", "name", "-o", "json"],
    ["rules", "list", "--prometheus", "-c", "fleet.yaml"],
    ["demo"],
    ["demo", "--listen", "127.0.0.1:0", "--duration", "10s"],
    ["demo", "fault", "slow-v2"],
    ["demo", "load"],
    ["up", "-c", "fleet.yaml"],
    ["check", "a.yaml", "b.yaml"],
    ["rules", "check", "a.yml"],
    ["dashboards", "generate", "--out", "DIR"],
    ["dashboards", "generate", "--out", "DIR", "-c", "fleet.yaml", "--seen-at", "/dashboards", "--check"],
    ["dashboards", "diff", "--url", "https://grafana", "--token-env", "GRAFANA"],
    ["dashboards", "push", "--url", "https://grafana", "--ca-file", "ca.pem", "--dry-run"],
    ["notifiers", "test", "ops"],
    ["token", "create", "--role", "viewer", "--name", "grafana"],
    ["nvml-exporter"],
    ["log-exporter", "-c", "logs.yaml"],
    ["backup", "init", "--repository", "file:///backups/llm", "--key-file", "backup.key"],
    ["backup", "create", "/models", "--name", "rag", "--version", "v2", "--part", "rag", "--exclude", "*.tmp"],
    ["backup", "restore", "chat@v2", "/restored/chat", "--file", "chat/2", "--dry-run"],
    ["backup", "verify", "--sample", "5"],
    ["backup", "prune", "--keep-last", "3", "--keep-daily", "7", "--yes"],
    ["backup", "jobs", "-o", "json"],
    ["backup", "run", "models"],
    ["catalogue", "list"],
    ["catalogue", "export", "-o", "rules.yml", "--job", "vllm=vllm-.*", "--label", "zone"],
]


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_a_verb_reaches_the_control_plane_with_its_arguments_untouched(cp: Run, words: list[str]) -> None:
    done = cp(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "controlplane" + "".join(f" [{w}]" for w in words) + "\n"


def test_files_and_trees_are_copied_as_ever(cp: Run, work: Path) -> None:
    (work / "a").write_text("one")
    assert cp("a", "b").returncode == 0
    assert (work / "b").read_text() == "one"
    (work / "d" / "sub").mkdir(parents=True)
    (work / "d" / "sub" / "f f").write_text("two")
    assert cp("-r", "d", "e").returncode == 0
    assert (work / "e" / "sub" / "f f").read_text() == "two"
    assert cp("-a", "--", "d", "-odd name").returncode == 0
    assert (work / "-odd name" / "sub" / "f f").read_text() == "two"


@pytest.mark.parametrize("words", [["--help"], ["--version"], [], ["a"], ["nowhere", "x"], ["-Z9", "x"]], ids=str)
def test_everything_else_answers_exactly_as_coreutils(cp: Run, work: Path, words: list[str]) -> None:
    ours = cp(*words)
    real = subprocess.run(
        ["/bin/cp", *words], cwd=work, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, capture_output=True, text=True
    )
    assert ours.returncode == real.returncode
    # coreutils names itself by the path that it was executed with
    assert ours.stdout.replace("/usr/bin/cp", "cp") == real.stdout.replace("/bin/cp", "cp")
    assert ours.stderr.replace("/usr/bin/cp", "cp") == real.stderr.replace("/bin/cp", "cp")


def fitting(verb: Verb) -> list[str]:
    """The fewest words that a verb takes."""
    operands = [f"operand{n}" for n, operand in enumerate(verb.operands) if operand.required]
    options = [word for option in verb.options if option.required for word in (option.long, "value")]
    return [*verb.words.split(), *operands, *options]


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_of_the_program_is_one_of_the_script_with_its_operands_and_options(
    cp: Run, work: Path, name: str
) -> None:
    verb, words = VERBS[name], fitting(VERBS[name])
    # Beside a folder of that name the script runs the verb only where its grammar fits.
    (work / name.split()[0]).mkdir()
    assert cp(*words).stdout == "controlplane" + "".join(f" [{w}]" for w in words) + "\n"
    for option in verb.options:
        for spelling in option.spellings:
            given = [*words, spelling, *(["value"] if option.metavar else [])]
            assert cp(*given).stdout.startswith("controlplane ["), given
    if not any(operand.many for operand in verb.operands):
        more = [f"more{n}" for n in range(1 + sum(not operand.required for operand in verb.operands))]
        done = cp(*words, *more)
        assert "controlplane" not in done.stdout and done.returncode == 1, done


@pytest.mark.parametrize(
    "words",
    [
        ["status", "old"],
        ["promote", "a", "b", "c"],
        ["alerts", "copy"],
        ["backup", "old"],
        ["backup", "create"],
        ["backup", "list", "old"],
    ],
    ids=" ".join,
)
def test_a_file_of_a_verbs_name_is_copied_where_the_grammar_does_not_fit(cp: Run, work: Path, words: list[str]) -> None:
    for name in words[:-1]:
        (work / name).write_text(f"this is {name}")
    if len(words) > 2:
        (work / words[-1]).mkdir()
    assert cp(*words).returncode == 0
    copied = work / words[-1] / words[0] if len(words) > 2 else work / words[-1]
    assert copied.read_text() == f"this is {words[0]}"


@pytest.mark.parametrize(
    "words", [["promote", "model"], ["query", "a", "b"], ["alerts", "lst"], ["config", "x"]], ids=" ".join
)
def test_a_verb_with_the_wrong_words_is_explained_by_the_program(cp: Run, work: Path, words: list[str]) -> None:
    (work / words[1]).mkdir()
    assert cp(*words).stdout == "controlplane" + "".join(f" [{w}]" for w in words) + "\n"
    assert not list((work / words[1]).iterdir())


@pytest.mark.parametrize("word", sorted({name.split()[0] for name in VERBS}))
def test_a_verb_alone_is_ours_even_beside_a_file_that_coreutils_could_not_copy_anyway(
    cp: Run, work: Path, word: str
) -> None:
    assert cp(word).stdout == f"controlplane [{word}]\n"
    (work / word).mkdir()
    assert cp(word).stdout == f"controlplane [{word}]\n"


TYPOS = [
    ("promot", "promote"),
    ("prmoote", "promote"),
    ("promotee", "promote"),
    ("prmote", "promote"),
    ("pormtoe", "promote"),
    ("Promote", "promote"),
    ("rolback", "rollback"),
    ("quarentine", "quarantine"),
    ("rollbcak", "rollback"),
    ("statsu", "status"),
    ("stats", "status"),
    ("tokn", "token"),
    ("rulse", "rules"),
    ("lgos", "logs"),
    ("audti", "audit"),
    ("nvml-exproter", "nvml-exporter"),
    ("bakcup", "backup"),
    ("backups", "backup"),
]


@pytest.mark.parametrize(("word", "verb"), TYPOS)
def test_a_word_close_to_a_verb_copies_nothing_and_names_both(cp: Run, work: Path, word: str, verb: str) -> None:
    (work / "model").mkdir()
    (work / "model" / "file").write_text("x")
    (work / "v2").mkdir()
    done = cp(word, "-r", "model", "v2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"cp: '{word}' is no file here and close to the verb '{verb}', so nothing was done. Say which one you mean:\n"
        f"  controlplane {verb} -r model v2\n"
        f"  /bin/cp {word} -r model v2\n"
    )
    assert not list((work / "v2").iterdir())


@pytest.mark.parametrize(("word", "verb"), TYPOS)
def test_the_script_and_the_program_have_the_same_idea_of_a_typo(word: str, verb: str) -> None:
    assert nearest(word, [name.split()[0] for name in VERBS]) == verb or word == "lgos"


@pytest.mark.parametrize("word", [word for word, _ in TYPOS])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_is_here_is_copied_however_close_to_a_verb_its_name_is(cp: Run, work: Path, word: str, kind: str) -> None:
    if kind == "file":
        (work / word).write_text("x")
    elif kind == "folder":
        (work / word).mkdir()
    else:
        (work / word).symlink_to("nowhere")
    done = cp("-a", word, "copy") if kind != "file" else cp(word, "copy")
    assert done.returncode == 0, done.stderr
    # The first word of a plain copy, too: what coreutils says of it is coreutils' business.
    assert "controlplane" not in cp(word, "elsewhere").stderr


@pytest.mark.parametrize(
    "word",
    [
        "a",
        "up2",
        "tpo",
        "report",
        "main.c",
        "models.txt",
        "./promot",
        "promot/",
        "dir/promot",
        "*.py",
        "p r o",
        "état",
        "x" * 300,
    ],
)
def test_words_that_nobody_could_have_meant_as_a_verb_are_coreutils_business(cp: Run, work: Path, word: str) -> None:
    done = cp(word, "x")
    assert done.returncode == 1
    assert "cannot stat" in done.stderr


@pytest.mark.parametrize(
    "words", [["promote", "model", "v2"], ["query", "up"], ["rollback", "model"], ["status"]], ids=" ".join
)
def test_a_file_of_a_verbs_name_stops_both_readings(cp: Run, work: Path, words: list[str]) -> None:
    (work / words[0]).write_text("precious")
    before = sorted(work.iterdir())
    done = cp(*words)
    assert done.returncode == 2
    assert "  controlplane " + " ".join(words) in done.stderr
    assert "  /bin/cp " + " ".join(words) in done.stderr
    assert (done.stdout, sorted(work.iterdir())) == ("", before)


@pytest.mark.parametrize("option", ["-r", "-R", "-a", "--recursive", "--archive", "-vr"])
def test_a_folder_of_a_verbs_name_stops_a_recursive_copy(cp: Run, work: Path, option: str) -> None:
    (work / "alerts").mkdir()
    done = cp("alerts", "list", option)
    assert (done.returncode, done.stdout) == (2, "")
    assert sorted(p.name for p in work.iterdir()) == ["alerts"]


def test_folders_of_ours_do_not_stop_the_verbs(cp: Run, work: Path) -> None:
    (work / "alerts").mkdir()
    (work / "dashboards").mkdir()
    assert cp("alerts", "list").stdout == "controlplane [alerts] [list]\n"
    assert cp("dashboards", "generate", "--out", "x").stdout == "controlplane [dashboards] [generate] [--out] [x]\n"


@pytest.mark.parametrize(
    "words",
    [["alerts", "explain"], ["alerts", "-h"], ["alerts", "explain", "--help"], ["backup", "diff"]],
    ids=" ".join,
)
def test_a_folder_that_coreutils_would_omit_does_not_hide_the_usage_of_its_verb(
    cp: Run, work: Path, words: list[str]
) -> None:
    (work / words[0]).mkdir()
    assert cp(*words).stdout == "controlplane" + "".join(f" [{w}]" for w in words) + "\n"


@pytest.mark.parametrize("words", [["alerts", "backup"], ["alerts", "show", "a", "b"]], ids=" ".join)
def test_a_folder_among_words_that_are_no_verb_is_told_of_by_coreutils(cp: Run, work: Path, words: list[str]) -> None:
    (work / "alerts").mkdir()
    done = cp(*words)
    assert "controlplane" not in done.stdout
    assert done.returncode == 1


def test_a_recursive_copy_of_such_a_folder_is_coreutils(cp: Run, work: Path) -> None:
    (work / "alerts" / "sub").mkdir(parents=True)
    assert cp("-r", "alerts", "list").returncode == 0
    assert (work / "list" / "sub").is_dir()


def test_the_script_never_calls_itself(cp: Run, environment: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.mkdir()
    (link / "cp").symlink_to(environment / "cp")
    assert cp("--version", path=f"{link}:{environment}:{environment}:/usr/bin").stdout.startswith("cp (GNU coreutils)")


def test_no_other_cp_on_the_path_is_said(cp: Run, environment: Path) -> None:
    done = cp("a", "b", path=str(environment))
    assert done.returncode == 127
    assert done.stderr == f"cp: no other cp on PATH ({environment})\n"


def test_the_script_is_plain_posix_sh() -> None:
    assert SCRIPT.read_text().startswith("#!/bin/sh\n")
    assert os.access(SCRIPT, os.X_OK)
    assert subprocess.run(["sh", "-n", SCRIPT], capture_output=True).returncode == 0
