"""The verbs about backups. All but `backup jobs`, `run` and `drill` work without a running control plane."""

from __future__ import annotations

from pathlib import Path

from controlplane.cli.verbs.grammar import Operand, Option, Verb, folder_to_make, percent, whole
from controlplane.cli.verbs.options import AS, CLOSE, DATA_DIR, DRY_RUN, LISTING

_REPOSITORY = Option("repository", "Address of the repository; by default CP_BACKUP_REPOSITORY.", "URL")
_KEY_FILE = Option("key_file", "The key file; by default CP_BACKUP_KEY_FILE.", "FILE", read=Path, offers="files")
_CONFIG = Option("config", "The fleet.yaml.", "FILE", "-c", read=Path, required=True, offers="files")
_WHERE = (_REPOSITORY, _KEY_FILE)
_SNAPSHOT = Operand("snapshot", "SNAPSHOT", "An id or its beginning, or the newest of a SUBJECT or SUBJECT@VERSION.")


_LOAD_TIMEOUT = Option(
    "load_timeout",
    "With --to-triton: time that each model has to load.",
    "SECONDS",
    default=600,
    read=whole(1, 86_400),
)
_KEPT = {
    "last": "Newest snapshots of each subject to keep.",
    "hourly": "Hours of which the newest snapshot is kept.",
    "daily": "Days (UTC) of which the newest snapshot is kept.",
    "weekly": "Weeks of which the newest snapshot is kept.",
    "monthly": "Months of which the newest snapshot is kept.",
}

_KEY_ACTIONS = ("list", "add", "remove", "rotate")


def _keep(period: str) -> Option:
    return Option(f"keep_{period}", _KEPT[period], "N", default=0, read=whole(0, 10_000))


BACKUPS = (
    Verb(
        "backup init",
        "backups.making:init",
        "Make an empty repository, and its key file.",
        options=(*_WHERE, Option("no_encryption", "Do not encrypt what is stored.")),
        examples=(("backup init --repository file:///backups/llm --key-file backup.key", ""),),
        details="A repository is a folder or a bucket: file:///path, s3://bucket/prefix, gs://… or az://…. Credentials "
        "come from the environment, as each cloud's own tools take them.",
    ),
    Verb(
        "backup create",
        "backups.making:create",
        "Back a folder, or a prefix of a bucket, up as one snapshot.",
        (
            Operand(
                "folder",
                "FOLDER",
                "A model repository or a folder of a model, or s3://bucket/prefix.",
                offers="folders",
            ),
        ),
        (
            *_WHERE,
            Option("name", "Name of the model; by default the folder's.", "NAME"),
            Option("version", "Version that the folder holds.", "VERSION"),
            Option("part", "Only this folder below FOLDER, such as an ensemble or a member.", "NAME", many=True),
            Option("include", "Only files that match, such as *.safetensors.", "GLOB", many=True),
            Option("exclude", "Leave files and folders out that match.", "GLOB", many=True),
            Option("tag", "A note that `backup list -o json` shows.", "NAME=VALUE", many=True),
            Option("compress", "Compress files whose sample shrinks by a tenth. Costs about six times the CPU."),
            Option("read_all", "Read also files that have not changed since the newest snapshot."),
            AS,
        ),
        examples=(
            ("backup create /models --name triton", "a whole Triton repository"),
            ("backup create /models --name rag --part rag --part embed", "an ensemble and its member"),
            ("backup create s3://models/triton --name triton", "a model repository in a bucket"),
        ),
        details="Files that change while they are read are read again; no snapshot holds a torn file.",
    ),
    Verb(
        "backup list",
        "backups.looking:snapshot_list",
        "List the snapshots, the newest first.",
        options=(
            *_WHERE,
            Option("subject", "Only snapshots of this model.", "NAME"),
            Option("limit", "Only the newest N snapshots.", "N", read=whole(1, 100_000)),
            AS,
        ),
        examples=(("backup list --subject chat", ""), ("backup list --limit 20", "reads the newest ones only")),
    ),
    Verb(
        "backup show",
        "backups.looking:snapshot_show",
        "Show one snapshot with its files.",
        (_SNAPSHOT,),
        (*_WHERE, AS),
        examples=(("backup show chat@v2", "the newest of chat v2"),),
    ),
    Verb(
        "backup contents",
        "backups.contents:contents",
        "Print the digests of folders in a snapshot, as `models digest` prints them on disk.",
        (_SNAPSHOT,),
        (
            Option("folder", "A folder below the root, part by part; by default the root.", "GLOB", many=True),
            *_WHERE,
            AS,
        ),
        examples=(
            ("backup contents chat@v2", "of the whole snapshot"),
            ("backup contents triton --folder 'chat/*'", "of every version of chat in a Triton repository"),
        ),
        details="No bytes of files are read. Links are followed inside the snapshot.",
    ),
    Verb(
        "backup diff",
        "backups.looking:diff",
        "Print what differs between two snapshots.",
        (
            Operand("before", "BEFORE", "The older snapshot."),
            Operand("after", "AFTER", "The newer snapshot."),
        ),
        (*_WHERE, AS),
        examples=(("backup diff chat@v1 chat@v2", "exit 1 when there is a difference"),),
        details="The exit code is 1 when there is a difference. Times alone are no difference.",
    ),
    Verb(
        "backup verify",
        "backups.reading:verify_repository",
        "Read the repository again and check every byte.",
        options=(
            *_WHERE,
            Option(
                "sample", "Percent of the packs, those first that were not read for longest.", "PERCENT", read=percent
            ),
            AS,
        ),
        examples=(("backup verify", "everything"), ("backup verify --sample 5", "every night")),
        details="The exit code is 1 when something is damaged. Damaged chunks are named with every file that needs "
        "them. The next backup of a source that still has the bytes stores them again.",
    ),
    Verb(
        "backup restore",
        "backups.restoring:restore",
        "Write a snapshot, or some of its files, into a new folder.",
        (_SNAPSHOT, Operand("to", "FOLDER", "The folder to make.", folder_to_make, offers="folders")),
        (
            *_WHERE,
            Option("version", "The newest snapshot of this version, as SUBJECT@VERSION.", "VERSION"),
            Option("file", "Only what matches this path or glob.", "GLOB", many=True),
            Option("replace", "Put it in the place of FOLDER at one instant, and keep the old folder beside it."),
            Option("partial", "Where packs are damaged, restore what is whole, and name what is not."),
            Option("to_triton", "Let this Triton load it, and check that it serves it.", "URL"),
            Option("model", "With --to-triton: load only this model.", "NAME", many=True),
            _LOAD_TIMEOUT,
            Option("delete_old", "With --to-triton: delete the old folder once the restored one is loaded."),
            DRY_RUN,
        ),
        examples=(
            ("backup restore chat@v2 /restored/chat", ""),
            ("backup restore chat@v2 /restored/chat --file 'chat/2'", "one version folder"),
            ("backup restore triton /models --replace --to-triton http://127.0.0.1:8000", "and load it"),
        ),
        details="Every chunk is checked. The folder appears only when it is whole. With --partial it appears also when "
        "files are missing: each is named, and the exit code is 1. When Triton does not load it, the old folder gets "
        "its place back and is loaded again, and the exit code is 1.",
    ),
    Verb(
        "backup test-restore",
        "backups.drilling:test_restore",
        "Restore a snapshot into a scratch folder, try it, and delete it again.",
        (_SNAPSHOT, Operand("scratch", "SCRATCH", "A folder for such trials only.", Path, offers="folders")),
        (
            *_WHERE,
            Option("to_triton", "Let this Triton load it. Its repository of models is SCRATCH.", "URL"),
            _LOAD_TIMEOUT,
            AS,
        ),
        examples=(
            ("backup test-restore triton /scratch", "every byte is checked"),
            ("backup test-restore triton /scratch --to-triton http://127.0.0.1:8100", "and a Triton loads it"),
        ),
        details="Of a control plane the database is opened, checked and counted. The scratch folder is clean "
        "afterwards, whatever the end is.",
    ),
    Verb(
        "backup control-plane",
        "backups.plane:save",
        "Back the control plane's own database and configuration up.",
        options=(
            _CONFIG,
            DATA_DIR,
            *_WHERE,
            Option("with_metrics", "Back the stored samples up too: the folder metrics/ of the data."),
            AS,
        ),
        examples=(("backup control-plane -c fleet.yaml --data-dir /var/lib/controlplane", ""),),
        details="The control plane may run meanwhile. The repository must be encrypted. The snapshot's subject is "
        "control-plane.",
    ),
    Verb(
        "backup restore-control-plane",
        "backups.plane:bring_back",
        "Restore a control plane into a new data folder, or into an empty database.",
        (
            _SNAPSHOT,
            Operand("to", "TO", "A new folder, or the URL of an empty PostgreSQL database.", offers="folders"),
        ),
        _WHERE,
        examples=(
            ("backup restore-control-plane control-plane /var/lib/controlplane", "the newest backup"),
            ("backup restore-control-plane control-plane postgresql+psycopg://cp@db/controlplane", ""),
        ),
        details="What starts on it only observes: messages and rollouts are held until `backup release`.",
    ),
    Verb(
        "backup release",
        "backups.plane:release",
        "Let a restored control plane act again.",
        options=(
            _CONFIG,
            DATA_DIR,
            Option("drop_messages", "Give held messages up instead of sending them."),
        ),
        examples=(("backup release -c fleet.yaml --data-dir /var/lib/controlplane", "then restart it"),),
    ),
    Verb(
        "backup prune",
        "backups.pruning:prune_repository",
        "Delete snapshots beyond what is kept, and the packs that nothing needs any more.",
        options=(
            *_WHERE,
            *(_keep(period) for period in _KEPT),
            Option("keep_path", "Keep the newest whole snapshot with this path, such as chat/2.", "PATH", many=True),
            Option("subject", "Delete only snapshots of this model.", "NAME", many=True),
            DRY_RUN,
            Option("yes", "Delete without asking."),
        ),
        examples=(
            ("backup prune --keep-daily 7 --keep-weekly 4 --dry-run", "what would go"),
            ("backup prune --yes", "no snapshot, only packs that nothing needs"),
        ),
        details="The newest snapshot of each version always stays, and the newest whole one where that is damaged. "
        "Backups and restores may run meanwhile.",
    ),
    Verb(
        "backup key",
        "backups.keys:key",
        "List the keys that open the repository, add or remove one, or begin a new data key.",
        (
            Operand(
                "action", "ACTION", "One of list, add, remove, rotate.", choices=("list", "add", "remove", "rotate")
            ),
            Operand(
                "what",
                "WHAT",
                "add: the new key file. remove: a key's id or its beginning.",
                str,
                False,
                offers="files",
            ),
        ),
        (
            *_WHERE,
            Option("name", "add: name of the key; by default its file's and yours.", "NAME"),
            Option("other", "rotate: the file of another key.", "FILE", read=Path, many=True, offers="files"),
            Option("yes", "remove: do not ask."),
            AS,
        ),
        examples=(
            ("backup key list", "which keys open the repository"),
            ("backup key add /safe/second.key", "makes the file unless it is there"),
            ("backup key remove 3f2a", "the key in --key-file stays"),
            ("backup key rotate --other /safe/second.key", "needs the file of every key"),
        ),
        details="add and remove change who can read; they wrap the same data keys again. rotate adds a data key: what "
        "is backed up from then on cannot be read with the older ones. Stored data keeps its data key.",
    ),
    Verb(
        "backup jobs",
        "backup_jobs:jobs",
        "List the backups that the control plane makes: the last run, the next run, the age of the newest good one.",
        options=LISTING,
        examples=(("backup jobs", "the jobs of backup: in fleet.yaml"),),
    ),
    Verb(
        "backup run",
        "backup_jobs:run",
        "Let the control plane make a backup now.",
        (Operand("job", "JOB", "A job of fleet.yaml, verify, or drill-JOB."),),
        CLOSE,
        examples=(("backup run models", "`backup jobs` shows its progress"),),
        details="It begins within seconds, or after the run of another job.",
    ),
    Verb(
        "backup drill",
        "backup_jobs:drill",
        "Let the control plane restore the newest snapshot of a job into its scratch folder and try it now.",
        (Operand("job", "JOB", "A job of fleet.yaml that drills try."),),
        CLOSE,
        examples=(("backup drill models", "`backup jobs` shows its progress and its result"),),
        details="fleet.yaml says where, and which engine loads it: backup.drill.",
    ),
)
