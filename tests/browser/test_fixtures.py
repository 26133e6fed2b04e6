"""That the fixtures let no error pass; what they do besides, the other tests show."""

from __future__ import annotations

import pytest

from tests.browser._jupyter import CellError
from tests.browser._server import KernelError


@pytest.mark.parametrize("front_end", ["lab"])
def test_errors_of_cells_kernel_and_page_are_raised(open_notebook):
    nb = open_notebook(["1 / 0"])
    with pytest.raises(CellError, match="ZeroDivisionError"):
        nb.run_all()
    with pytest.raises(KernelError, match="NameError"):
        nb.kernel.run("absent")
    with pytest.raises(KernelError, match="NameError"):
        nb.kernel.value("absent")
    with pytest.raises(AssertionError, match="still False"):
        nb.kernel.wait_for("1 == 2", timeout=0.1)
    with pytest.raises(AssertionError, match="did not finish within"):
        nb.kernel.run("import time; time.sleep(2)", timeout=0.2)

    with nb.page.expect_event("pageerror"):
        nb.page.evaluate("() => { setTimeout(() => { throw new Error('thrown on purpose'); }); }")
    with nb.page.expect_event("requestfailed"):
        nb.page.evaluate("() => { new Image().src = 'http://somewhere.invalid/picture.png'; }")
    problems = nb.problems()
    assert len(problems) == 2
    assert "thrown on purpose" in problems[0]
    assert "somewhere.invalid" in problems[1]
    nb.errors.clear()  # else the fixture fails this test at its end, as it should any other
    nb.foreign_requests.clear()
