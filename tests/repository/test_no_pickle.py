"""No file from outside is unpickled: loading a checkpoint, a data set or a cache executes no code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [path for folder in ("fobench", "plugins", "reference_model") for path in sorted((ROOT / folder).rglob("*.py"))]
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
METHODS = {"read_pickle", "to_pickle"}
# between fobench and the processes that it starts, which may fail to pickle
OWN_PIPES = {f"fobench/process_host/{name}.py" for name in ("child", "host")}


def offences(tree: ast.AST) -> list[str]:
    """What in a module reads or writes pickles."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"imports {name}" for name in names if name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found += _call(ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords})
    return found


def _call(name: str, options: dict[str | None, str]) -> list[str]:
    if name == "torch.load" and options.get("weights_only") != "True":
        return ["torch.load without weights_only=True"]
    if name in ("np.load", "numpy.load") and options.get("allow_pickle", "False") != "False":
        return ["np.load with allow_pickle"]
    if name == "torch.save" or name.rpartition(".")[2] in METHODS:
        return [name]
    if options.get("weights_only") == "False" or options.get("trust_remote_code") == "True":
        return [f"{name} runs code of a file"]
    return []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_unpickles_nothing(path):
    if path.relative_to(ROOT).as_posix() not in OWN_PIPES:
        assert offences(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "text",
    [
        *(
            "import pickle",
            "from pickle import loads",
            "import joblib.memory",
            "torch.load(path)",
            "torch.save(x, path)",
        ),
        *("torch.load(path, weights_only=False)", "np.load(path, allow_pickle=True)", "pandas.read_pickle(path)"),
        "AutoModel.from_pretrained(folder, trust_remote_code=True)",
    ],
)
def test_a_way_to_unpickle_is_found(text):
    assert len(offences(ast.parse(text))) == 1


@pytest.mark.parametrize(
    "text", ["torch.load(path, weights_only=True)", "np.load(path)", "np.load(path, allow_pickle=False)"]
)
def test_what_executes_nothing_is_allowed(text):
    assert offences(ast.parse(text)) == []
