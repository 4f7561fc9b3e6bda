"""Evaluates the claims of a run again, prints the verdicts, and writes its figures and report.

    python launch/report.py --workdir=DIR
    python launch/report.py --workdir=DIR --config=configs/icl_iwl/p_high.py

The claims are those that the run was started with; --config takes them from a study file instead, for instance after a
claim was changed.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

# Study files import from configs/, which is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import app, flags  # noqa: E402

from launch import endings  # noqa: E402

_WORKDIR = flags.DEFINE_string("workdir", None, "The folder that launch/run.py wrote to.", required=True)
_CONFIG = flags.DEFINE_string("config", None, "A study file, FILE or FILE:VARIANT, to take the claims from.")


def main(argv: list[str]) -> int:
    endings.warn_plainly()
    try:
        if len(argv) > 1:
            raise ValueError(f"Unknown argument {argv[1]!r}; all arguments are flags, see --help.")
        return _report(_WORKDIR.value, _CONFIG.value)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _report(workdir: str, config: str | None) -> int:
    from icl_sim.studies import report, verdicts

    claims = claims_of(config) if config else None
    try:
        found = report.write_report(workdir, claims, tell=lambda sentence: print(sentence, file=sys.stderr))
        print(verdicts.to_text(found))
    except ModuleNotFoundError as error:
        print(verdicts.to_text(report.write_verdicts(report.read(workdir), claims)))
        print(f"No report was written: {error.name} is missing; pip install icl_sim[report].", file=sys.stderr)
        return 1
    print(f"Report: {Path(workdir) / report.REPORT}")
    return 0


def claims_of(config: str) -> tuple:
    """The claims of a study file. Raises ValueError if there is no such file or it cannot be read."""
    from icl_sim.studies import claims

    name, _, variant = config.partition(":")
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"There is no study file {path}; --config names one, as in configs/icl_iwl/p_high.py:quick.")
    sys.path.append(str(path.absolute().parent))
    spec = importlib.util.spec_from_file_location("study_file", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file, so it holds no study.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever somebody's file raises
        raise ValueError(f"{path} cannot be read: {type(error).__name__}: {error}.") from error
    if not hasattr(module, "get_config"):
        raise ValueError(f"{path} has no get_config, so it is no study file.")
    try:
        config = module.get_config(variant) if variant else module.get_config()
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"get_config of {path} cannot be used: {type(error).__name__}: {error}.") from error
    found = getattr(config, "claims", None)
    if not isinstance(found, tuple | list) or not all(isinstance(claim, claims.Claim) for claim in found):
        raise ValueError(f"get_config of {path} must return icl_sim.config_of(study), and its claims be of kind Claim.")
    return claims.check(found)


if __name__ == "__main__":
    app.run(lambda argv: sys.exit(main(argv)))
