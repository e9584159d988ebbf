"""The verbs that only touch the ledger, the settings file or the loop's processes."""

import argparse
import subprocess
import sys
from pathlib import Path

from driftwheel import controls
from driftwheel.cli.command import named_version, open_ledger, print_record, settings_from
from driftwheel.cli.doctor import examine
from driftwheel.cli.init import settings_text
from driftwheel.cli.status import as_json, as_text, gather
from driftwheel.cli.up import up as supervise
from driftwheel.errors import ConfigError
from driftwheel.records import Alias
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger


def init(arguments: argparse.Namespace) -> None:
    """Write a settings file."""
    path = Path(arguments.config)
    if path.exists():
        raise ConfigError(f"{path} exists already; give another name with --config, or remove it")
    if not Path(arguments.data).is_file():
        raise ConfigError(f"no data file at {arguments.data}")
    path.write_text(
        settings_text(arguments.project, arguments.base, arguments.data, arguments.label_field), encoding="utf-8"
    )
    print(f"wrote {path}\nnext: driftwheel doctor, driftwheel data build, driftwheel train, driftwheel publish")


def doctor(arguments: argparse.Namespace) -> None:
    """Print what this machine can do; fails if something is missing."""
    findings = examine(settings_from(arguments) if Path(arguments.config).exists() else None)
    for finding in findings:
        print(f"{'ok     ' if finding.is_fine else 'MISSING'}  {finding.subject:<16} {finding.text}")
    if arguments.model or arguments.data:
        _print_fit(arguments)
    if not all(f.is_fine for f in findings):
        raise ConfigError("this machine lacks something; see the lines marked MISSING")


def _print_fit(arguments: argparse.Namespace) -> None:
    """Let the training stage, which may import torch, say what fits this machine."""
    argv = [sys.executable, "-m", "train", "fit", "--config", arguments.config]
    argv += [part for override in arguments.overrides for part in ("--set", override)]
    argv += ["--model", arguments.model] if arguments.model else []
    argv += ["--data", arguments.data] if arguments.data else []
    sys.stdout.flush()
    if subprocess.run([*argv, *(["--json"] if arguments.json else [])], check=False).returncode != 0:
        raise ConfigError("what fits could not be found out; the reason stands above")


def up(arguments: argparse.Namespace) -> None:
    """Run the whole loop until it is stopped."""
    settings = settings_from(arguments)
    supervise(settings, arguments.overrides)


def status(arguments: argparse.Namespace) -> None:
    """Print what is live and what is going on."""
    settings = settings_from(arguments)
    facts = gather(settings, open_ledger(settings))
    print(as_json(facts) if arguments.json else as_text(facts))


def retrain(arguments: argparse.Namespace) -> None:
    """Ask for a retrain."""
    settings, ledger = _open(arguments)
    decision = controls.request_retrain(settings, ledger, trigger="button", reason=arguments.reason)
    print_record(decision, as_json=arguments.json)


def approve(arguments: argparse.Namespace) -> None:
    """Let a waiting decision go on."""
    _, ledger = _open(arguments)
    print_record(controls.approve(ledger, arguments.id), as_json=arguments.json)


def refuse(arguments: argparse.Namespace) -> None:
    """Turn down a waiting decision."""
    _, ledger = _open(arguments)
    print_record(controls.refuse(ledger, arguments.id), as_json=arguments.json)


def promote(arguments: argparse.Namespace) -> None:
    """Make a published version live."""
    settings, ledger = _open(arguments)
    shares = arguments.canary
    if shares is not None and not all(0 < share < 1 for share in shares):
        raise ConfigError(f"--canary {shares} must be shares above 0 and below 1, such as 0.1 0.5")
    version = named_version(settings, ledger, arguments.id)
    _finish_move(arguments, settings, ledger, controls.promote(settings, ledger, version.id, canary_shares=shares))


def rollback(arguments: argparse.Namespace) -> None:
    """Make the previous version live again."""
    settings, ledger = _open(arguments)
    _finish_move(arguments, settings, ledger, controls.rollback(settings, ledger))


def _finish_move(arguments: argparse.Namespace, settings: Settings, ledger: Ledger, alias: Alias) -> None:
    if not arguments.no_wait and alias.observed_at is not None:
        alias = controls.wait_until_observed(settings, ledger, alias)
    print_record(alias, as_json=arguments.json)


def pause(arguments: argparse.Namespace) -> None:
    """Stop retraining."""
    settings, ledger = _open(arguments)
    controls.set_paused(settings, ledger, True)
    print("retraining is paused; `driftwheel resume` continues it")


def resume(arguments: argparse.Namespace) -> None:
    """Continue retraining."""
    settings, ledger = _open(arguments)
    controls.set_paused(settings, ledger, False)
    print("retraining goes on")


def _open(arguments: argparse.Namespace) -> tuple[Settings, Ledger]:
    settings = settings_from(arguments)
    return settings, open_ledger(settings)
