"""What panels of the viewer have in common: a button that computes, a slider over what came out, one line of text."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import viser

if TYPE_CHECKING:
    from sceneleapultra.evaluation.viewer.browser import Browser


class Panel(ABC):
    """A folder of controls.

    Args:
        browser: whose subject is shown.
        title: of the folder.
        button: what computing is called.
    """

    layers: ClassVar[tuple[str, ...]]  # of a side that it draws
    hides: ClassVar[tuple[str, ...]]  # of a side that it draws instead

    def __init__(self, browser: "Browser", title: str, button: str) -> None:
        self.browser, self.stage = browser, browser.stage
        gui = self.stage.server.gui
        self.folder = gui.add_folder(title)
        with self.folder:
            self.add_controls(gui)
            self._button = gui.add_button(button)
            self.slider = gui.add_slider("moment", 0, 1, 1, 0, visible=False)
            self.text = gui.add_markdown("")
        self._button.on_click(lambda _: self.run())
        self.slider.on_update(self._move)

    @property
    def replaces(self) -> tuple[str, ...]:
        """What is hidden for it now."""
        return self.hides if self.slider.visible else ()

    def close(self) -> None:
        """Forget what was computed: another grasp or another item is shown."""
        self.slider.visible = False
        self.text.content = ""
        self._erase()

    @abstractmethod
    def add_controls(self, gui: viser.GuiApi) -> None:
        """Add what is chosen before computing."""

    @abstractmethod
    def compute(self) -> int:
        """Compute; return the number of moments.

        Raises:
            ValueError: it cannot be computed here.
            FileNotFoundError: a model or file is missing.
        """

    @abstractmethod
    def draw(self, moment: int) -> str:
        """Draw one moment; return what is to be said of it."""

    def run(self) -> None:
        """Compute, and show the first moment; what cannot be computed gets a sentence."""
        with self.stage.lock:
            for panel in self.browser.panels:
                panel.close()
            self._button.disabled, self.text.content = True, "computing …"
            try:
                moments = self.compute()
            except (ValueError, FileNotFoundError) as error:
                self.text.content = str(error)
                moments = 0
            finally:
                self._button.disabled = False
            if moments:
                self.slider.max = max(1, moments - 1)
                self.slider.value = 0
                self.slider.visible = True
                self._show()
            self.browser.show_layers()

    def _move(self, _: "viser.GuiEvent[Any]") -> None:
        with self.stage.lock:
            if self.slider.visible:
                self._show()

    def _show(self) -> None:
        with self.stage.server.atomic():
            self.text.content = self.draw(int(self.slider.value))

    def _erase(self) -> None:
        for side in self.browser.sides:
            self.stage.erase(*(side.group(layer) for layer in self.layers))
