"""MLflow model registry: register a trained bundle, load a version as it will be served.

Which version serves is the ledger's business; this module only moves models.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from litgo_pipelines.models import run_page
from litgo_pipelines.models import scorer as scoring
from litgo_pipelines.models.bundle import Bundle
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.scorer import Scorer, ScorerDamaged, Served
from litgo_pipelines.models.trial import try_in_child
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models.model import ModelInfo


MODEL_NAME = "litgo-ranker"
T = TypeVar("T")
EARLIER_FILE = "model.lgb"  # of versions before a scorer was a file of ours; they know the eight FEATURES
LARGEST = 256 << 20  # bytes of a served file; a trained one has a hundredth
_SCORER_FILE = re.compile(r"scorer-[0-9a-f]{64}\.json")


class VersionMissing(RuntimeError):
    """The registry has no such version, or its files are gone; permanent."""


@dataclass(frozen=True)
class Version:
    version: str
    run_id: str


def known(module: ModuleType, ask: Callable[[], T]) -> T | None:
    """What MLflow answers; None for a run, a version or a model that it does not have."""
    try:
        return ask()
    except module.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def find(mlflow: MLflow, candidate_key: str, taken: Collection[str] = ()) -> Version | None:
    """The version registered for this candidate, the oldest if there were several; None when there is none."""
    named = mlflow.client().search_model_versions(f"name = '{MODEL_NAME}' and tags.candidate_key = '{candidate_key}'")
    found = [entry for entry in named if str(entry.version) not in taken]
    if not found:
        return None
    oldest = min(found, key=lambda entry: int(entry.version))
    return Version(str(oldest.version), str(oldest.run_id))


def register(
    mlflow: MLflow,
    bundle: Bundle,
    example: NDArray[np.float64],
    tags: dict[str, str],
    taken: Collection[str] = (),
) -> Version:
    """Upload the bundle as one MLflow run and register its served model; a candidate already there is only returned.

    example: a few rows of the bundle's features, shown with the model. Callers hold a lock on the candidate key: of
    two at once, both would upload. Remains of an upload that was cut off are closed as killed. taken: versions that are
    other models in the ledger; a registry that somebody deleted, renamed or replaced counts anew from 1.
    """
    if existing := find(mlflow, bundle.key, taken):
        return existing
    module, client = mlflow.module(), mlflow.client()
    experiment_id = mlflow.experiment_id()
    for run in client.search_runs([experiment_id], f"tags.candidate_key = '{bundle.key}' and status = 'RUNNING'"):
        client.set_terminated(run.info.run_id, "KILLED")
    metrics = bundle.metrics
    tags = {
        **tags,
        "candidate_key": bundle.key,
        "snapshot_sha256": metrics["snapshot"]["sha256"],
        "dagster_run_id": metrics["dagster_run_id"],
        "git_sha": metrics["git_sha"] or "unknown",
    }
    card = (bundle.folder / "model_card.md").read_text(encoding="utf-8")
    run_id = run_page.begin(client, experiment_id, metrics, tags)
    with module.start_run(run_id=run_id):
        run_page.log(client, experiment_id, run_id, metrics)
        module.log_artifacts(str(bundle.folder), "bundle")
        client.set_tag(run_id, run_page.NOTE, run_page.fitted(card, run_page.LONGEST_NOTE))
        logged = log_scorer(module, bundle.scorers()[0], example)
        # Inside the run: a run that finished has its version, and one that was cut off is seen to be.
        created = module.register_model(logged.model_uri, MODEL_NAME, tags=tags)
        while str(created.version) in taken:
            client.delete_model_version(MODEL_NAME, str(created.version))
            created = module.register_model(logged.model_uri, MODEL_NAME, tags=tags)
    run_page.end(client, run_id, metrics)
    client.update_model_version(MODEL_NAME, created.version, run_page.fitted(card, run_page.LONGEST_DESCRIPTION))
    return Version(str(created.version), run_id)


def example(columns: int) -> NDArray[np.float64]:
    """Rows to show with a model: made up, for those of a snapshot are about people."""
    return np.array([[0.0], [0.5], [1.0]]).repeat(columns, axis=1)


def frame(features: NDArray[np.float64], names: Sequence[str]) -> "pd.DataFrame":
    """Features (rows, len(names)) with the names the signature asks for."""
    import pandas as pd

    return pd.DataFrame(features, columns=list(names))


def names_of(model: Served) -> tuple[str, ...]:
    """The features a loaded version asks for."""
    return model.scorer.names


def parts(model: Served) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """What each feature adds to a loaded version's score."""
    return model.scorer.parts


def served_sha256(bundle: Bundle) -> str:
    """What the ledger says of a candidate: the SHA-256 of the one file by which its version is served."""
    return scoring.digest(scoring.dumps(bundle.scorers()[0]))


def _artifact(mlflow: MLflow, version: str, path: str) -> bytes:
    """One file of a version. Nothing of it is interpreted. Raises VersionMissing."""
    module = mlflow.module()
    with tempfile.TemporaryDirectory() as folder:
        try:
            local = module.artifacts.download_artifacts(f"models:/{MODEL_NAME}/{version}/{path}", dst_path=folder)
            return _plain(Path(local))
        except (module.exceptions.MlflowException, OSError) as error:
            where = f"models:/{MODEL_NAME}/{version}/{path}"
            raise _not_had(mlflow, f"{MODEL_NAME} version {version} cannot be had", where, error) from error


def _not_had(mlflow: MLflow, what: str, uri: str, error: Exception) -> VersionMissing | MLflowUnavailable:
    """Why a file of MLflow's was not had: it is missing when MLflow says so, or lists its folder without it.

    A server that is up and answers 500, 429, 401 or a page of its proxy has said nothing of the kind: taken for "it is
    gone", a candidate would be rejected and a champion rolled back for an outage.
    """
    mlflow.probe()
    module, said = mlflow.module(), f"{what}: {error}"
    folder, _, name = uri.rpartition("/")
    try:
        listed = known(module, lambda: module.artifacts.list_artifacts(artifact_uri=folder)) or []
    except (module.exceptions.MlflowException, OSError) as unsaid:
        return MLflowUnavailable(f"{said}; nor does MLflow say whether it is there: {unsaid}")
    if any(Path(each.path).name == name for each in listed):
        return MLflowUnavailable(f"{said}; it is there and could not be read")
    if problem := mlflow.files_problem():
        return MLflowUnavailable(f"{said}; the models' files cannot be reached: {problem}")
    return VersionMissing(said)


def _as_recorded(version: str, content: bytes, sha256: str | None) -> str:
    """The file's text, once it is the one that the ledger names. Raises ScorerDamaged."""
    if sha256 is None:
        raise ScorerDamaged(
            f"version {version}: its entry in the ledger names no SHA-256, so nobody knows what it was; "
            f"`litgo model seal {version}` shows its file and asks, or a retraining makes one that can serve"
        )
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ScorerDamaged(f"version {version} is not the file whose SHA-256 stands in the ledger: it was changed")
    return content.decode()


def _download(mlflow: MLflow, version: str, sha256: str | None) -> str:
    """The served file of a version: fetched alone, compared, and parsed by another process first."""
    text = _as_recorded(version, _served_text(mlflow, version, sha256) if sha256 else b"", sha256)
    try_in_child(text)
    return text


def load_model(mlflow: MLflow, version: str, sha256: str | None) -> Served:
    """The version as it is served. sha256: of its file, from the ledger (`ledger.scorer_hashes`).

    Raises VersionMissing when the registry does not have it or its files are gone, ScorerDamaged when it is another.
    """
    return Served(scoring.loads(_download(mlflow, version, sha256)))


def _served_text(mlflow: MLflow, version: str, sha256: str) -> bytes:
    """The file that is served; of a version of earlier code, LightGBM's own text in the form of today."""
    try:
        return _artifact(mlflow, version, f"data/scorer-{sha256}.json")
    except VersionMissing:
        try:
            return _todays_form(_artifact(mlflow, version, EARLIER_FILE)).encode()
        except VersionMissing:
            pass
        raise


def _todays_form(lightgbm_text: bytes) -> str:
    """Nothing of it is interpreted."""
    try:
        return scoring.dumps(scoring.earlier_trees(lightgbm_text.decode(), FEATURES))
    except UnicodeDecodeError as error:
        raise ScorerDamaged(f"{EARLIER_FILE} is no text") from error


@dataclass(frozen=True)
class ServedFile:
    """The one file a version would be served by. `sha256`: as served; `seeds`, `ndcg`: as its run's record says."""

    version: str
    path: str
    size: int
    sha256: str
    recorded_sha256: str  # as the run's record would name the file
    names: tuple[str, ...]
    seeds: Mapping[str, str]
    ndcg: Mapping[str, float]
    first_seed: str


def served_file(mlflow: MLflow, version: str) -> ServedFile:
    """Fetched alone, hashed, then parsed by another process. Raises VersionMissing, ScorerDamaged."""
    path = _served_path(mlflow, version)
    content = _artifact(mlflow, version, path)
    try:
        text = _todays_form(content) if path == EARLIER_FILE else content.decode()
    except UnicodeDecodeError as error:
        raise ScorerDamaged(f"{path} is no text") from error
    try_in_child(text)
    record = _run_record(mlflow, version)
    try:
        seeds = {str(seed): str(digest) for seed, digest in record["models"].items()}
        ndcg = {str(k): float(found["mean"]) for k, found in record["holdout"]["ndcg"].items() if found}
        first = str(record["seeds"][0])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise VersionMissing(f"{MODEL_NAME} version {version}: its run's metrics.json cannot be used") from error
    digest = hashlib.sha256(content).hexdigest()
    names = scoring.loads(text).names
    return ServedFile(version, path, len(content), scoring.digest(text), digest, names, seeds, ndcg, first)


def served_file_problems(mlflow: MLflow, version: str, file: ServedFile) -> tuple[str, ...]:
    """What the version's run and signature say otherwise than its file."""
    client = mlflow.client()
    run = client.get_run(str(client.get_model_version(MODEL_NAME, version).run_id))
    problems = []
    if file.path != EARLIER_FILE and Path(file.path).name != f"scorer-{file.sha256}.json":
        problems.append("the file's own name says another SHA-256")
    if file.seeds.get(file.first_seed) != file.recorded_sha256:
        problems.append("the run's record (bundle/metrics.json) names another file for the first seed")
    said = {"parameters": tuple(run.data.params.get("features", "").split()) or FEATURES}
    said["signature"] = signature_names(mlflow, version)
    problems += [
        f"the {where} name the features {' '.join(names) or '(none)'}"
        for where, names in said.items()
        if names != file.names
    ]
    problems += [
        f"the run has NDCG@{k} {run.data.metrics.get(f'holdout_ndcg_{k}')}, its record {mean}"
        for k, mean in file.ndcg.items()
        if not same(mean, run.data.metrics.get(f"holdout_ndcg_{k}"))
    ]
    return tuple(problems)


def same(one: float, other: float | None) -> bool:
    return other is not None and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _served_path(mlflow: MLflow, version: str) -> str:
    module = mlflow.module()
    try:
        listed = module.artifacts.list_artifacts(artifact_uri=f"models:/{MODEL_NAME}/{version}/data") or []
    except (module.exceptions.MlflowException, OSError) as error:
        where = f"models:/{MODEL_NAME}/{version}/data"
        raise _not_had(mlflow, f"{MODEL_NAME} version {version} cannot be had", where, error) from error
    names = [name for each in listed if _SCORER_FILE.fullmatch(name := Path(each.path).name)]
    if len(names) > 1:
        raise ScorerDamaged(f"version {version} has {len(names)} files of a scorer: nobody knows which it is")
    return f"data/{names[0]}" if names else EARLIER_FILE


def _run_record(mlflow: MLflow, version: str) -> dict[str, Any]:
    """metrics.json of the bundle that the version's run holds."""
    module, client = mlflow.module(), mlflow.client()
    what, uri = f"{MODEL_NAME} version {version}: the record of its run is gone", f"models:/{MODEL_NAME}/{version}/"
    try:
        run_id = str(client.get_model_version(MODEL_NAME, version).run_id)
        uri = f"runs:/{run_id}/bundle/metrics.json"
        with tempfile.TemporaryDirectory() as folder:
            local = client.download_artifacts(run_id, "bundle/metrics.json", folder)
            return dict(json.loads(Path(local).read_text(encoding="utf-8")))
    except (module.exceptions.MlflowException, OSError) as error:
        raise _not_had(mlflow, what, uri, error) from error
    except (ValueError, TypeError) as error:
        raise VersionMissing(f"{what} ({error})") from error


def signature_names(mlflow: MLflow, version: str) -> tuple[str, ...]:
    """The features that the version's signature names, for readers other than us; empty without one."""
    try:
        described = yaml.safe_load(_artifact(mlflow, version, "MLmodel"))
        return tuple(str(column["name"]) for column in json.loads(described["signature"]["inputs"]))
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        return ()


def kept_name(mlflow: MLflow, version: str) -> str:
    """File of a version's copy: the same number means another model in another registry."""
    return f"{MODEL_NAME}-{version}-{hashlib.sha256(mlflow.tracking_uri.encode()).hexdigest()[:8]}.json"


def load_kept(mlflow: MLflow, version: str, folder: Path, sha256: str | None) -> Served:
    """As `load_model`, from a copy kept under `folder` once it was downloaded: serving goes on without the registry.

    A copy that was changed is refused and put aside as `.damaged-…`, so that the next call fetches the version anew.
    Raises MLflowUnavailable when there is no copy and the server does not answer, else as `load_model`.
    """
    kept = folder / kept_name(mlflow, version)
    try:
        text = _as_recorded(version, _plain(kept), sha256)
    except FileNotFoundError:
        text = _download(mlflow, version, sha256)
        _keep(text, kept)
    except ScorerDamaged:
        _put_aside(kept)
        raise
    return Served(scoring.loads(text))


def _plain(path: Path) -> bytes:
    """Of a file, at most LARGEST. Raises FileNotFoundError, ScorerDamaged for a link, a folder, a pipe, a device."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            about = os.fstat(file.fileno())
            if stat.S_ISREG(about.st_mode) and about.st_size <= LARGEST:
                return file.read(LARGEST)
    except FileNotFoundError:
        raise
    except OSError:
        pass
    raise ScorerDamaged(f"{path.name} is no file of at most {LARGEST >> 20} MB: its SHA-256 cannot be the ledger's")


def _put_aside(kept: Path) -> None:
    aside = kept.with_name(f".damaged-{kept.name}")
    with contextlib.suppress(FileNotFoundError):  # somebody else was faster
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside, ignore_errors=True)
        kept.rename(aside)


def _keep(text: str, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=kept.parent, prefix=".partial-", delete=False) as file:
        file.write(text)
    Path(file.name).replace(kept)


def loadable(mlflow: MLflow, version: str, folder: Path, sha256: str | None) -> bool | None:
    """Whether a version ranks two rows as it would in service; None when nobody can say, for the registry is down."""
    try:
        try:
            model = load_kept(mlflow, version, folder, sha256)
        except ScorerDamaged:  # the copy, perhaps: the registry's own file is asked for
            model = load_kept(mlflow, version, folder, sha256)
        names = names_of(model)
        scores = model.predict(frame(np.array([[0.0], [1.0]]).repeat(len(names), axis=1), names))
    except MLflowUnavailable:
        return None
    except Exception:  # whatever is wrong with a model, it cannot serve
        return False
    return bool(np.shape(scores) == (2,) and np.isfinite(scores).all())


def seed_scorers(mlflow: MLflow, version: str, recorded: Mapping[str, str] | None) -> list[Scorer]:
    """All seeds' scorers of a version, the served one first, from the run that registered it.

    recorded: seed → SHA-256 of its file, from the ledger. Raises VersionMissing when the run or its files are gone,
    ScorerDamaged when they are others than the ledger says.
    """
    from litgo_pipelines.models import bundle

    module, client = mlflow.module(), mlflow.client()
    what, uri = f"{MODEL_NAME} version {version}: the files of its run are gone", f"models:/{MODEL_NAME}/{version}/"
    try:
        run_id = str(client.get_model_version(MODEL_NAME, version).run_id)
        uri = f"runs:/{run_id}/bundle/metrics.json"
        with tempfile.TemporaryDirectory() as folder:
            local = bundle.load_bundle(Path(client.download_artifacts(run_id, "bundle", folder)))
            if local is None:
                raise VersionMissing(f"{MODEL_NAME} version {version}: its run holds no metrics")
            if recorded is None or local.metrics["models"] != dict(recorded):
                raise ScorerDamaged(f"version {version}: its run holds other files than the ledger names")
            return local.scorers()
    except FileNotFoundError as error:  # the bundle came without it
        raise VersionMissing(f"{what} ({error})") from error
    except (module.exceptions.MlflowException, OSError) as error:
        raise _not_had(mlflow, what, uri, error) from error


def reload_problems(
    model: Served, names: Sequence[str], features: NDArray[np.float64], expected: NDArray[np.float64]
) -> tuple[str, ...]:
    """What is wrong with a model that came back from the registry; empty when it is the one that went in.

    It must take the features in order and give `expected`, bit for bit, also when the caller's columns come in another
    order.
    """
    if names_of(model) != tuple(names):
        return (f"the model takes {list(names_of(model))}, expected {list(names)}",)
    given = frame(features, names)
    if not np.array_equal(np.asarray(model.predict(given)), expected):
        return ("the reloaded model predicts something else than the trained one",)
    if not np.array_equal(np.asarray(model.predict(given[list(reversed(names))])), expected):
        return ("the reloaded model depends on the order of the caller's columns",)
    return ()


def show(mlflow: MLflow, version: str, folder: str, stamp: str, files: Mapping[str, bytes]) -> str:
    """Put files into a folder of the version's run, in place of older ones; once a stamp. Says where they are.

    Raises MLflowUnavailable, and VersionMissing when the registry does not have the version.
    """
    module, client = mlflow.module(), mlflow.client()
    tag = folder.replace("/", ".")
    try:
        run_id = str(client.get_model_version(MODEL_NAME, version).run_id)
        if client.get_run(run_id).data.tags.get(tag) != stamp:
            with tempfile.TemporaryDirectory() as local:
                for name, content in files.items():
                    (Path(local) / name).write_bytes(content)
                client.log_artifacts(run_id, local, folder)
            client.set_tag(run_id, tag, stamp)
    except module.exceptions.MlflowException as error:
        mlflow.probe()
        raise VersionMissing(f"{MODEL_NAME} version {version}: {error}") from error
    return f"run {run_id}, {folder}"


def log_scorer(module: ModuleType, served: Scorer, example: NDArray[np.float64]) -> "ModelInfo":
    """The scorer as the model of the run that is open: one file, named by its SHA-256, that `scorer.py` reads."""
    import lightgbm
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    text = scoring.dumps(served)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / scoring.file_name(text)
        file.write_text(text, encoding="utf-8")
        return module.pyfunc.log_model(
            name="model",
            loader_module=scoring.__name__,
            data_path=str(file),
            signature=ModelSignature(
                inputs=Schema([ColSpec("double", name) for name in served.names]),
                outputs=Schema([TensorSpec(np.dtype(np.float64), (-1,))]),
            ),
            input_example=frame(example, served.names),
            # Given, not inferred: inference loads the model in a second process.
            pip_requirements=[f"lightgbm=={lightgbm.__version__}", f"mlflow=={module.__version__}"],
        )
