"""A worker and the layers of its functions: unpacked and merged once, held while in use."""

from __future__ import annotations

import asyncio
import io
import stat
import zipfile

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import CodeRef, LayerRef
from samovar.model.instance import InstanceId
from samovar.worker import code_cache
from tests.unit.fake_machine import ID, machine


async def test_an_instance_gets_its_layers_as_one_tree(tmp_path):
    async with machine(tmp_path) as built:
        layers = await built.layer("green"), await built.layer("black", "python/coffee.py")
        instance = await built.idle(layers=layers)
        tree = instance.spec.layers_dir
        assert (tree / "python" / "tea.py").read_text() == "green"
        assert (tree / "python" / "coffee.py").read_text() == "black"
        assert instance.inits[0]["opt"] == instance.layers_root
        assert f"{instance.layers_root}/bin" in instance.inits[0]["env"]["PATH"]


async def test_later_layers_win(tmp_path):
    async with machine(tmp_path) as built:
        green, black = await built.layer("green"), await built.layer("black")
        for name, layers in (("one", (green, black)), ("other", (black, green))):
            tree = (await built.idle(InstanceId(name), layers=layers)).spec.layers_dir
            assert (tree / "python" / "tea.py").read_text() == layers[-1].arn.split()[-1]


async def test_an_instance_without_layers_is_told_of_none(tmp_path):
    async with machine(tmp_path) as built:
        instance = await built.idle()
        assert instance.spec.layers_dir is None
        assert "opt" not in instance.inits[0]
        assert instance.inits[0]["env"]["PATH"].endswith(":/opt/bin")


async def test_layers_are_unpacked_and_merged_once_however_many_instances_start(
    tmp_path, monkeypatch
):
    """What makes cold starts with layers as fast as those without."""
    work = []

    def counted(name):
        real = getattr(code_cache, name)

        def count(*arguments, **named):
            work.append(name)
            return real(*arguments, **named)

        return count

    async with machine(tmp_path) as built:
        one, two = await built.layer("green"), await built.layer("black", "python/coffee.py")
        for name in ("unpack", "merge"):
            monkeypatch.setattr(code_cache, name, counted(name))
        ids = [InstanceId(f"i-{number}") for number in range(6)]
        await asyncio.gather(*(built.idle(id_, layers=(one, two)) for id_ in ids[:3]))
        for id_ in ids[3:]:
            await built.idle(id_, layers=(one, two))
        assert sorted(work) == ["merge", "unpack", "unpack", "unpack"]  # the code is one, too
        assert len({instance.spec.layers_dir for instance in built.sandbox.running()}) == 1
        work.clear()
        await built.idle(InstanceId("another function"), layers=(two,))
        assert work == []


async def test_a_single_layer_is_not_merged_with_anything(tmp_path):
    async with machine(tmp_path) as built:
        layer = await built.layer("green")
        tree = (await built.idle(layers=(layer,))).spec.layers_dir
        assert tree.name == layer.code.sha256_hex


async def test_layers_are_held_as_long_as_an_instance_has_them(tmp_path):
    async with machine(tmp_path) as built:
        layers = await built.layer("green"), await built.layer("black")
        instance = await built.idle(layers=layers)
        built.cache._max_bytes = 0
        await built.cache.get((await built.layer("more")).code)
        assert (instance.spec.layers_dir / "python" / "tea.py").exists()
        await built.worker.stop(ID)
        assert built.leftovers() == {}
        await built.cache.get((await built.layer("yet more")).code)
        assert not instance.spec.layers_dir.exists()


async def test_a_layer_that_cannot_be_had_leaves_nothing(tmp_path):
    async with machine(tmp_path) as built:
        missing = LayerRef("arn", CodeRef("00" * 32, 1))
        for layers in ((missing,), (await built.layer("green"), missing)):
            with pytest.raises(PlatformError) as failed:
                await built.idle(layers=layers)
            assert failed.value.code is ErrorCode.NOT_FOUND
            assert built.leftovers() == {}


async def test_merged_layers_survive_a_restart(tmp_path):
    async with machine(tmp_path) as built:
        codes = [(await built.layer(kind)).code for kind in ("green", "black")]
        tree = await built.cache.get(*codes)
        inode = tree.stat().st_ino
    async with machine(tmp_path) as again:
        assert (await again.cache.get(*codes)).stat().st_ino == inode
        assert tree.name not in again.cache.warm()


async def test_merged_layers_that_may_not_be_whole_are_merged_again(tmp_path):
    async with machine(tmp_path) as built:
        codes = [(await built.layer(kind)).code for kind in ("green", "black")]
        tree = await built.cache.get(*codes)
    (tree / "python").chmod(0o755)
    (tree / "python" / "tea.py").unlink()
    tree.with_name(f"{tree.name}.size").unlink()
    half = tree.with_name(f".{tree.name}.abcd")
    half.mkdir()
    async with machine(tmp_path) as again:
        assert not half.exists()
        assert (await again.cache.get(*codes) / "python" / "tea.py").read_text() == "black"


@pytest.mark.parametrize(
    ("name", "bridged"),
    [("extensions/watcher", True), ("lib/libtea.so.1", True), ("python/tea.py", False)],
)
async def test_what_layers_bring_decides_how_a_function_runs_also_after_a_restart(
    tmp_path, name, bridged
):
    for _ in range(2):
        async with machine(tmp_path) as built:
            for count in range(2):
                layers = [await built.layer("a", name), await built.layer("b", "x")][: count + 1]
                instance = await built.idle(InstanceId(f"with {count}"), layers=tuple(layers))
                assert instance.spec.bridged is bridged
            assert not (await built.idle()).spec.bridged


async def test_a_hostile_link_in_a_layer_stops_neither_its_function_nor_the_next_start(tmp_path):
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        for name in ("extensions", "lib", "bootstrap"):
            link = zipfile.ZipInfo(name)
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "x" * 300)
    for _ in range(2):
        async with machine(tmp_path) as built:
            layer = LayerRef("arn", await built.store.put(package.getvalue()))
            assert not (await built.idle(layers=(layer,))).spec.bridged
