"""Download Model."""

import pytest


def test_a_download_brings_the_tokenizer_and_shows_how_far_it_is(pack, reports, monkeypatch):
    asked = []

    def download(name, folder, on_bytes):
        asked.append((name, folder))
        on_bytes(50, 100)
        return pack.models / f"{name}.safetensors"

    monkeypatch.setattr(pack.module("nodes.download"), "download", download)
    assert pack.run("RandARDownloadModel", release="randar-l-llamagen") == ("randar-l-llamagen.safetensors",)
    assert asked == [("randar-l-llamagen", str(pack.models)), ("llamagen-vq16", str(pack.models))]
    assert reports[0][:2] == (50, 100)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_download_is_interrupted(pack, monkeypatch, wrapped):
    import comfy.model_management as management

    def download(name, folder, on_bytes):
        management.interrupt_current_processing()
        try:
            on_bytes(1, 100)
        except BaseException as error:
            if wrapped:  # as where the interrupt is an Exception
                raise pack.module("randar_core.checkpoints.download").DownloadError("stopped") from error
            raise

    monkeypatch.setattr(pack.module("nodes.download"), "download", download)
    with pytest.raises(management.InterruptProcessingException):
        pack.run("RandARDownloadModel", release="llamagen-vq16")
