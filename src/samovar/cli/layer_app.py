"""`samovar layer …`: what its commands take; what they do is in `layer.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samovar.cli.flags import Yes, confirm, endpoint_of

layer_app = typer.Typer(help="Files that functions share, at /opt.", no_args_is_help=True)


@layer_app.command("publish")
def publish_layer(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Of the layer, new or not.", show_default=False)],
    path: Annotated[Path, typer.Argument(help="A folder or a zip: what is to be at /opt.")],
    runtime: Annotated[
        list[str] | None, typer.Option(help="What it is made for, as a note; repeat it.")
    ] = None,
    description: Annotated[str, typer.Option(help="For those who list it.")] = "",
) -> None:
    """Publish a new version of a layer."""
    from samovar.cli import layer as noun

    typer.echo(noun.publish(endpoint_of(context), name, path, runtime or [], description))


@layer_app.command("ls")
def list_layers(context: typer.Context) -> None:
    """List the layers with their newest versions."""
    from samovar.cli import layer as noun

    typer.echo(noun.ls(endpoint_of(context)))


@layer_app.command("rm")
def remove_layer(
    context: typer.Context,
    layer: Annotated[str, typer.Argument(help="NAME[:VERSION]; without one: all of them.")],
    yes: Yes = False,
) -> None:
    """Delete a layer, or one version of it. Functions that use it go on."""
    from samovar.cli import layer as noun

    confirm(layer, f"Delete the layer {layer}?", yes)
    typer.echo(noun.rm(endpoint_of(context), layer))
