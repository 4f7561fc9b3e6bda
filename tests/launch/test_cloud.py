"""The files for clouds: that they can be read, and say what launch/run.py understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.launch.conftest import ROOT

yaml = pytest.importorskip("yaml", reason="needs pyyaml")
CLOUD = ROOT / "launch" / "cloud"


def read(name: str) -> dict:
    text = (CLOUD / name).read_text()
    assert "Documented, not exercised here" in " ".join(text.splitlines()[:2]).replace("# ", "")
    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def task() -> dict:
    return read("skypilot.yaml")


@pytest.fixture(scope="module")
def job() -> dict:
    """The job of the set, as a resource of its own."""
    (found,) = read("jobset.yaml")["spec"]["replicatedJobs"]
    assert found["replicas"] == 1
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": found["template"]["spec"]}


def test_their_commands_give_flags_that_there_are_and_studies_that_there_are(nursery, task, job):
    (container,) = job["spec"]["template"]["spec"]["containers"]
    lines = [task["run"], shlex.join(container["command"]), (ROOT / "launch" / "tpu_vm.sh").read_text()]
    known = nursery.call("run.py", "--helpshort").stdout
    for line in lines:
        given = re.findall(r"--(\w+)=", "--" + line.partition("launch/run.py --")[2].partition("\n")[0])
        assert given and all(re.search(rf"^  --(\[no\])?{name}:", known, re.MULTILINE) for name in given), given
    for study in re.findall(r"configs/\S+\.py", "\n".join([*lines, *map(str, task["envs"].values())])):
        assert Path(ROOT / study).exists()


def test_a_stopped_task_of_skypilot_is_recovered_from_its_bucket(task):
    (folder, bucket), *others = task["file_mounts"].items()
    assert not others and f'--workdir={folder}/"$RUN"' in task["run"] and bucket["mode"] == "MOUNT"
    code = int(re.search(r"--stopped_exit_code=(\d+)", task["run"])[1])
    assert task["resources"]["use_spot"] and code in task["resources"]["job_recovery"]["recover_on_exit_codes"]
    assert set(re.findall(r"\$\{?([A-Z]+)", task["run"])) == set(task["envs"])
    assert task["workdir"] == "."


def test_the_hosts_of_a_set_are_as_many_as_the_slice_has_and_start_again_together(job):
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    rows, columns = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert spec["parallelism"] == spec["completions"] == rows * columns // chips
    assert spec["completionMode"] == "Indexed" and spec["backoffLimit"] == 0 and pod["restartPolicy"] == "Never"
    assert "--distributed=on" in container["command"] and "--stopped_exit_code=75" in container["command"]
    (mount,) = container["volumeMounts"]
    assert f"--workdir={mount['mountPath']}/p_high" in container["command"]
    assert mount["name"] == pod["volumes"][0]["name"]
    stopped, disrupted = spec["podFailurePolicy"]["rules"]
    assert stopped["action"] == disrupted["action"] == "FailJob"
    assert stopped["onExitCodes"]["containerName"] == container["name"] and 75 in stopped["onExitCodes"]["values"]
    (rule,) = read("jobset.yaml")["spec"]["failurePolicy"]["rules"]
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"] and rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])


def test_the_job_of_the_set_fits_kubernetes_schema(job):
    validator = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    validator.validate(job, validator.latest_version(), strict=True)
