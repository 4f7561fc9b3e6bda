from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import icl_sim as icl
from icl_sim.lm import dual, study, tables, tokenizer
from icl_sim.lm.finetuning import Recipe, finetune
from icl_sim.lm.study import LAYERS, QUERIES, Finetuned, InContext, LabelledText, ZeroShot
from icl_sim.studies import codec, report, runner
from tests.lm import tiny as checkpoint

TASK = LabelledText(model="tiny", data="fixture", shots=2, queries=6, batch_size=8, seed=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole study, run once, and how many times queries were asked."""
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "_ask", lambda *args, **kwargs: asked.append(args) or _ASK(*args, **kwargs))
        folder = tmp_path_factory.mktemp("lm")
        made = icl.Study(
            task=TASK.replace(seed=None),
            predictors={"zero_shot": ZeroShot(), "in_context": InContext(), "finetuned": Finetuned()},
            training=icl.Training(steps=0),
            sweep=icl.product({"seed": (1, 2), "predictors.finetuned.learning_rate": (0.0, 0.1)}),
        )
        assert runner.run(made, folder, quiet=True).finished
        first = len(asked)
        status = runner.run(made, folder, quiet=True)
    return made, folder, first, len(asked), status


_ASK = study._ask


def test_what_members_share_is_asked_once_and_what_is_done_not_again(run):
    _, _, first, after, status = run
    assert first == 1 + 2 + 4  # zero-shot, two contexts, four finetuned models
    assert after == first and status.finished and not status.simulated


def test_rows_of_a_study(run):
    _, folder, *_ = run
    table = report.read(folder).table
    assert len(table["member"].unique()) == 2 + 2 + 4
    own = table[(table["predictor"] == "finetuned") & (table["seed"] == 1)]
    still = own[own["predictors.finetuned.learning_rate"] == 0].set_index(["eval_set", "metric"])["value"]
    zero = table[(table["predictor"] == "zero_shot") & (table["seed"] == 1)].set_index(["eval_set", "metric"])["value"]
    # At a rate of 0 the model is as before: the same answers, no update, and the same maps.
    assert still["summary", "accuracy"] == zero["summary", "accuracy"] and still["summary", "update_norm"] == 0
    assert still["summary", "sim_am_after"] == pytest.approx(still["summary", "sim_am_before"])
    assert still["summary", "sim_aou"] == 0 and still["summary", "ft_corrects"] == 0
    assert sum((LAYERS, f"sim_aou/{n}") in still for n in range(5)) == 2
    right = [zero[QUERIES, f"right/{n}"] for n in range(6)]
    assert np.mean(right) == zero["summary", "accuracy"]
    assert all((zero[QUERIES, f"margin/{n}"] > 0) == bool(right[n]) for n in range(6))


def test_numbers_are_those_of_the_parts():
    rate = Finetuned(learning_rate=0.1)
    numbers = rate.calculate(TASK)
    model, shown = study.loaded("tiny"), TASK.prompts()
    made = finetune(model.architecture, model.params, shown.start, shown.demonstrations, rate.recipe())
    assert numbers["update_norm"] == pytest.approx(made.update_norm)
    after = study._ask(TASK, model.architecture, made.params, shown, shots=False)
    assert numbers["accuracy"] == after.measures()["accuracy"]
    context = InContext().calculate(TASK)
    assert context["demonstrations"] == 2 and context["context_tokens"] == len(shown.context)


def test_what_the_weights_answer_without_finetuning_and_how_far_relaxed_attention_is():
    told = Finetuned(weights="untrained").calculate(TASK)
    context, bare = (kind(weights="untrained").calculate(TASK) for kind in (InContext, ZeroShot))
    assert (told["zsl_accuracy"], told["icl_accuracy"]) == (bare["accuracy"], context["accuracy"])
    shown, params = TASK.prompts(), study.weights_of(TASK, "untrained")
    ids_T = np.asarray(shown.context + shown.queries[0])
    relaxed = dual.relaxation_of_heads(study.loaded("tiny").architecture, params, ids_T)
    assert context[LAYERS, "relaxation_cosine/1"] == pytest.approx(float(relaxed.cosine[1].mean()), abs=1e-5)
    assert context["relaxation_scaled_error"] == pytest.approx(float(relaxed.scaled_error.mean()), abs=1e-5)


@pytest.mark.parametrize(("method", "weights"), [("gd", "untrained"), ("lcgd", "trained")])
def test_a_model_divided_over_devices_gives_the_numbers_of_one(method, weights):
    predictor = Finetuned(method=method, weights=weights, learning_rate=0.1)
    whole, divided = (predictor.calculate(TASK.replace(devices=devices)) for devices in (1, 2))
    held = study.weights_of(TASK.replace(devices=2), weights)["layers"]["up"]["kernel"]
    assert len(held.sharding.device_set) == 2 and held.addressable_shards[0].data.shape[2] * 2 == held.shape[2]
    assert whole.keys() == divided.keys()
    # In the first layer a context changes no map but by rounding, and that not alike.
    for name in ("accuracy", "update_norm", "sim_aou", "kendall", (LAYERS, "sim_am_delta/1")):
        assert divided[name] == pytest.approx(whole[name], abs=1e-3), name


def test_a_model_in_half_precision_answers_nearly_the_same():
    half = TASK.replace(dtype="bfloat16")
    assert study.weights_of(half, "untrained")["embedding"]["token"].dtype == "bfloat16"
    exact, rounded = (Finetuned(learning_rate=0.1).calculate(task) for task in (TASK, half))
    assert rounded["update_norm"] == pytest.approx(exact["update_norm"], rel=0.05)
    assert rounded["update_norm"] != exact["update_norm"]
    assert rounded["sim_aou"] == pytest.approx(exact["sim_aou"], abs=0.1)


def test_more_devices_than_there_are_are_refused_before_a_run():
    with pytest.raises(ValueError, match="divided over 99 devices; there are 2 here"):
        TASK.replace(devices=99).load()


def test_a_model_that_cannot_be_read_or_asked_is_found_before_a_run(tmp_path):
    config, tensors = checkpoint.golden("llama")["config"], checkpoint.tensors("llama")
    task = TASK.replace(model=str(checkpoint.write(tmp_path / "mute", config, tensors)))
    with pytest.raises(ValueError, match="mute has no tokenizer, so it cannot be asked anything"):
        task.load()
    tokenizer.save(tokenizer.from_gguf({"model": "gpt2", "tokens": ["a", "b"], "merges": []}, "x"), tmp_path / "mute")
    task.load()
    short = checkpoint.write(tmp_path / "short", config, dict(list(tensors.items())[1:]))
    with pytest.raises(ValueError, match="does not hold the model that its config describes. Tensors missing"):
        TASK.replace(model=str(short)).load()
    (tmp_path / "mute" / "config.json").write_text("{}")
    study._inspected.cache_clear()
    with pytest.raises(ValueError, match="mute/config.json: The model's config has no 'model_type'"):
        task.load()
    with pytest.raises(ValueError, match="task.shots is 99; it must be at most"):
        TASK.replace(shots=99).load()


def test_alpha_compares_with_gd_beside_it():
    numbers = Finetuned(method="lcgd", learning_rate=0.01, alpha_rate=0.1).calculate(TASK)
    model, shown = study.loaded("tiny"), TASK.prompts()
    before, *after = (
        study._ask(TASK, model.architecture, params, shown, shots=False).record.logits_NAHT
        for params in (
            model.params,
            *(
                finetune(model.architecture, model.params, shown.start, shown.demonstrations, recipe).params
                for recipe in (Recipe(method="lcgd", learning_rate=0.01), Recipe(learning_rate=0.1))
            ),
        )
    )
    lcgd, gd = (one - before for one in after)
    cosine = np.sum(lcgd * gd, -1) / np.linalg.norm(lcgd, axis=-1) / np.linalg.norm(gd, axis=-1)
    assert numbers["alpha"] == pytest.approx(cosine.mean(), abs=1e-5) and 0.01 < abs(numbers["alpha"]) < 0.999
    assert numbers[LAYERS, "alpha/0"] == pytest.approx(cosine[:, 0].mean(), abs=1e-5)
    assert "alpha" not in Finetuned(method="lcgd", learning_rate=0.01).calculate(TASK)


def test_weights_are_random_by_the_seed():
    one, other = (study.weights_of(TASK.replace(seed=seed), "untrained")["layers"]["up"]["kernel"] for seed in (0, 1))
    assert not np.array_equal(one, other)
    trained, mixed = (study.weights_of(TASK, kind) for kind in ("trained", "trained_embeddings"))
    assert mixed["embedding"] is trained["embedding"]


def test_the_tables_tell_of_all_settings_and_queries(run):
    _, folder, *_ = run
    text = tables.comparison(folder)
    lines = text.splitlines()
    assert [line.split("  ")[0] for line in lines[2:6]] == [
        "zero shot",
        "in context",
        "finetuned, learning rate 0",
        "finetuned, learning rate 0.1",
    ]
    told = report.read(folder).table
    told = told[(told["eval_set"] == "summary") & (told["metric"] == "accuracy")].set_index("predictor")["value"]
    chosen = next(line for line in text.splitlines() if line.startswith("By accuracy on these same queries"))
    assert f"({told['in_context'].max():.3f} in context)" in chosen
    assert lines[4].endswith(f"{told['zero_shot'].mean():.3f}, {told['in_context'].mean():.3f}")
    tables.write_appendix(folder)
    page = (folder / report.APPENDIX).read_text()
    asked = TASK.asked()
    assert all(row.fields["text"] in page for row in asked) and "finetuned, learning rate 0.1" in page
    report.write_report(folder)
    assert page in (folder / report.REPORT).read_text()


def test_what_the_search_of_the_paper_would_choose():
    def row(predictor, seed, value, rate=None):
        return {"predictor": predictor, "seed": seed, "eval_set": "summary", "metric": "accuracy", "value": value} | {
            tables.RATE: rate
        }

    rows = [row("in_context", 1, 0.7), row("in_context", 2, 0.8), row("zero_shot", 1, 0.9)]
    rows += [row("finetuned", 1, 0.99, 0.1), row("finetuned", 2, 0.5, 0.1), row("finetuned", 2, 0.6, 0.01)]
    told = tables._chosen(pd.DataFrame(rows))
    assert "seed 2 (0.800 in context) and with it the learning rate 0.01 (0.600 finetuned)" in told
    assert tables._chosen(pd.DataFrame(rows[1:])) == ""  # one seed
    assert tables._chosen(pd.DataFrame([*rows[:3], rows[4]])) == ""  # one rate


def test_a_study_can_be_written_down_and_read_again(run):
    made, *_ = run
    assert codec.study_of(codec.config_of(made)) == made


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "sst3"}, "data is 'sst3'"),
        ({"template": "papers"}, "Did you mean 'paper'"),
        ({"shots": -1}, "task.shots is -1; it must be at least 0"),
        ({"queries": 0}, "task.queries is 0; it must be at least 1"),
        ({"devices": 0}, "task.devices is 0; it must be at least 1"),
        ({"dtype": "float8"}, "task.dtype is 'float8'"),
        ({"model": "no/such/folder"}, "must be a folder or a .gguf file that exists, or one of tiny, smollm2"),
        ({"place": "prompt_ends"}, "Did you mean 'prompt_end'"),
        ({"seed": -1}, "must be at least 0"),
    ],
)
def test_impossible_tasks_are_sentences(changes, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(TASK, **changes).check()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "random"}, "allowed: trained, untrained, trained_embeddings"),
        ({"mode": "ft"}, "Did you mean 'f2t'"),
        ({"method": "adam"}, "allowed: gd, lcgd"),
        ({"kendall_queries": -1}, "must be at least 0"),
        ({"alpha_rate": 0.1}, "alpha_rate is 0.1 and the method 'gd'; alpha compares lcgd with gd"),
        ({"method": "lcgd", "alpha_rate": -1.0}, "learning_rate is -1.0"),
    ],
)
def test_impossible_settings_are_sentences(changes, said):
    with pytest.raises(ValueError, match=said):
        Finetuned(**changes).check()


def test_real_prompts_of_sst2(text_dir):
    real = LabelledText(model="tiny", folder=str(text_dir), shots=3, queries=5, seed=1)
    first = real.rows("train")[38518]
    shown = real.prompts()
    assert bytes(shown.demonstrations[0]).decode() == f"Review: {first.fields['text']}\nSentiment:" + (
        " positive" if first.label else " negative"
    )
