"""A marketplace whose tables, columns and statuses have other names: a mapping alone, which `litgo doctor` writes."""

from pathlib import Path

import dagster as dg
import pytest

from litgo_pipelines.database import roles, sql
from litgo_pipelines.marketplace import doctor
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines_tests.worlds.jobs import Jobs, last_night, nights, services
from litgo_pipelines_tests.worlds.live_schema import as_role
from litgo_pipelines_tests.worlds.other_marketplace import fill
from litgo_pipelines_tests.worlds.sessions import ask


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_mapping_alone_fits_it(other: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    end = last_night()
    fill(other, sql("litgo_pipelines.marketplace", "tables.sql"), lawyers=80, cases=500, days=60, end=end)
    before = doctor.examine(other)
    assert before.mapping == doctor.PROPOSED
    file = tmp_path / "banca.yaml"
    file.write_text(before.proposal, encoding="utf-8")
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", str(file))
    assert doctor.examine(other).failures == []
    done = migrate(other)
    assert "the index ofertas_por_envio serves as litgo_offers_sent" in done
    assert "existing marketplace: added advogados.equidade_em (timestamptz)" not in done
    roles.apply(other)
    assert doctor.examine(other).failures == []
    waiting = ask(other, "SELECT count(*) FROM banca.casos WHERE situacao = 'aguardando'")[0][0]
    with services() as given, dg.DagsterInstance.ephemeral() as instance:
        given |= {"LITGO_DATABASE_URL": as_role(other, "litgo_pipelines"), "LITGO_HOME": str(tmp_path)}
        for name, value in (given | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}).items():
            monkeypatch.setenv(name, value)
        jobs = Jobs(instance)
        jobs.run("nightly_equity", partition_key=nights(1)[0])
        jobs.run("offer_expiry")
        jobs.run("evidence")
        jobs.run("matching", "triaged_cases", "case_offers")
        jobs.run("notifications")
    found = {
        name: ask(other, query)[0][0]
        for name, query in {
            "written back": "SELECT count(*) FROM banca.advogados WHERE capacidade_mensal > 0",
            "reviewed": "SELECT count(*) FROM litgo.lawyer_evidence WHERE reviews > 0",
            "matched": "SELECT count(*) FROM litgo.matchings",
            "offered": "SELECT count(*) FROM banca.ofertas WHERE situacao = 'pendente'",
            "suggested": "SELECT count(*) FROM banca.sugestoes WHERE criado_em > now() - interval '1 hour'",
            "placed": "SELECT count(*) FROM litgo.matchings WHERE radius_km < 1000",
            "told": "SELECT count(*) FROM litgo.outbox WHERE kind = 'offer' AND status IN ('sent', 'merged')",
        }.items()
    }
    assert all(found.values()), found
    assert found["matched"] > waiting / 2
    assert ask(other, "SELECT count(*) FROM banca.ofertas WHERE situacao = 'pendente' AND expira_em < now()") == [(0,)]
