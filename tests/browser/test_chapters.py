"""Chapters as a learner meets them: Run All in JupyterLab, then hands on the widgets, with the real model."""

from itertools import combinations

from playwright.sync_api import expect


def opened(lab, widget):
    """The first widget of a kind in a chapter, scrolled into a tall window."""
    lab.page.set_viewport_size({"width": 1280, "height": 1600})
    root = lab.page.locator(f".lab-{widget}").first
    root.scroll_into_view_if_needed()
    return root


def test_start_here(notebook_page):
    lab = notebook_page("00_start_here")
    root = opened(lab, "phone")
    screen, app = root.locator(".lab-screen"), root.locator(".lab-app")
    before = screen.locator("img").get_attribute("src")
    box = screen.bounding_box()
    # the icon in the first row and column, wherever this phone has put it
    screen.click(position={"x": box["width"] * 0.17, "y": box["height"] * 0.24})
    expect(app).not_to_have_text("System Home")
    assert screen.locator("img").get_attribute("src") != before
    root.get_by_role("button", name="Home").click()
    expect(app).to_have_text("System Home")

    root.get_by_label("Command", exact=True).fill("open WeChat")
    root.get_by_role("button", name="Run", exact=True).click()
    expect(root).to_contain_text("do(action=", timeout=60_000)
    expect(app).to_have_text("WeChat", timeout=60_000)
    lab.screenshot("chapter-00-light", of=root)
    lab.theme("dark")
    lab.screenshot("chapter-00-dark", of=root)
    lab.page.set_viewport_size({"width": 520, "height": 1600})
    lab.screenshot("chapter-00-narrow", of=root)


def test_gates_answer_to_the_sliders(notebook_page):
    lab = notebook_page("02_gated_cross_attention")
    root = opened(lab, "gates")
    said = root.locator(".lab-said")
    expect(said).to_contain_text("image gate")
    clean = said.text_content()
    slider = root.locator("input[type=range]").first
    slider.focus()
    for _ in range(20):
        lab.page.keyboard.press("ArrowRight")
    expect(said).not_to_have_text(clean, timeout=30_000)
    assert float(slider.input_value()) > 0
    lab.screenshot("chapter-02-light", of=root)
    lab.theme("dark")
    lab.screenshot("chapter-02-dark", of=root)
    attention = lab.page.locator(".lab-attention").first
    attention.scroll_into_view_if_needed()
    lab.screenshot("chapter-02-attention-dark", of=attention)


def test_weights_are_pruned_by_hand(notebook_page):
    lab = notebook_page("03_pruning")
    root = opened(lab, "sparsity")
    said, picture = root.locator(".lab-said").last, root.locator("img.lab-weights")
    expect(said).to_contain_text("0% of the weights are zero")
    whole = picture.get_attribute("src")
    root.get_by_label("Zeros in all layers", exact=True).focus()
    for _ in range(6):
        lab.page.keyboard.press("PageUp")
    expect(said).to_contain_text("60% of the weights are zero", timeout=60_000)
    expect(said).to_contain_text("loss", timeout=60_000)
    assert picture.get_attribute("src") != whole
    lab.screenshot("chapter-03-light", of=root)
    lab.theme("dark")
    lab.screenshot("chapter-03-dark", of=root)
    lab.page.set_viewport_size({"width": 520, "height": 1600})
    lab.screenshot("chapter-03-narrow", of=root)
    loss, most = map(float, lab.python("print(measure(dial.shares)['loss'], max(dial.shares.values()))").split())
    assert 0 < loss < 20 and 0.6 < most < 1, "Python holds the shares that the page shows, and has measured them"


def test_an_agent_is_chosen_on_the_plane(notebook_page):
    lab = notebook_page("06_quantization_aware_training")
    root = opened(lab, "pareto")
    told, said = root.get_by_role("status"), root.locator(".lab-said")
    expect(told).to_contain_text('"name": "int4"')
    expect(said).to_contain_text("nothing beats")
    root.locator("[data-name='int8'] text").click()  # its circle lies under that of int8_static
    expect(told).to_contain_text('"name": "int8"', timeout=30_000)
    lab.screenshot("chapter-06-light", of=root)
    lab.command("notebook:enter-command-mode", wait=True)
    root.locator("[data-name='rank40']").focus()
    lab.page.keyboard.press("Enter")
    expect(told).to_contain_text('"rank": 0.4', timeout=30_000)
    before = said.text_content()
    root.get_by_label("What is compared with success").select_option("answer_ms")
    expect(said).not_to_have_text(before)
    lab.expect_python("print(recipe(plane.report).name)", "rank40")
    lab.theme("dark")
    lab.screenshot("chapter-06-dark", of=root)
    lab.page.set_viewport_size({"width": 520, "height": 1600})
    lab.screenshot("chapter-06-narrow", of=root)
    boxes = "all => all.map(e => [e.textContent, e.getBoundingClientRect().toJSON()])"
    names = root.locator("[data-name] text").evaluate_all(boxes)
    for (one, a), (other, b) in combinations(names, 2):
        apart = a["right"] <= b["left"] or b["right"] <= a["left"] or a["bottom"] <= b["top"] + 2 or b["bottom"] <= a["top"] + 2
        assert apart, f"{one} and {other} lie over each other in a narrow window"


def test_a_server_is_loaded_and_an_agent_works_over_http(open_notebook):
    lab = open_notebook("09_serving")
    lab.run_all()
    lab.assert_clean()
    root = opened(lab, "server")
    said = root.locator(".lab-said")
    before = said.inner_text()
    guess = root.get_by_label("Your guess for 16 clients, answers a second")
    guess.fill("33")
    guess.press("Enter")
    expect(said).to_contain_text("guessed 33")
    root.get_by_role("button", name="Load it").click()
    expect(root.get_by_role("button", name="Load it")).to_be_enabled(timeout=90_000)
    assert said.inner_text() != before.replace("guessed 240", "guessed 33")
    plot = root.locator(".lab-plot svg").bounding_box()
    assert plot["width"] > 0.9 * root.bounding_box()["width"], "whatever other widgets are on the page"
    lab.screenshot("chapter-09-light", of=root)

    phone = opened(lab, "phone")
    phone.get_by_label("Command", exact=True).fill("open Settings")
    phone.get_by_role("button", name="Run", exact=True).click()
    expect(phone.locator(".lab-app")).to_have_text("Settings", timeout=60_000)
    lab.screenshot("chapter-09-phone-light", of=phone)
    lab.theme("dark")
    lab.screenshot("chapter-09-dark", of=root)
    lab.page.set_viewport_size({"width": 520, "height": 1600})
    lab.screenshot("chapter-09-narrow", of=root)
    lab.assert_clean()


def test_the_agent_answers_on_a_page_in_the_notebook(open_notebook):
    lab = open_notebook("10_on_device")
    lab.also.append("http://127.0.0.1:")  # the page has a server and a port of its own
    lab.run_all()
    lab.assert_clean()
    root = opened(lab, "browser")
    page = root.frame_locator("iframe")
    expect(page.get_by_role("status")).to_contain_text("Ready after", timeout=60_000)
    page.get_by_label("Send the times").check()
    page.get_by_label("Command").fill("open Settings")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("status")).to_contain_text("Done", timeout=60_000)
    expect(root.locator(".lab-timeline__row")).to_have_count(1, timeout=20_000)
    expect(root.locator(".lab-said")).to_contain_text("median of")
    lab.screenshot("chapter-10-light", of=root)

    times = opened(lab, "latency")
    first = times.locator(".lab-timeline__row").first
    before = first.locator(".lab-number").inner_text()
    first.get_by_role("spinbutton").fill("70")
    first.get_by_role("spinbutton").press("Enter")
    expect(times.locator(".lab-said")).to_contain_text("guessed 70")
    times.get_by_role("button", name="Measure").click()
    expect(times.get_by_role("button", name="Measure")).to_be_enabled(timeout=60_000)
    assert first.locator(".lab-number").inner_text() != before
    times.get_by_role("button", name="Look inside", exact=True).click()
    expect(times.locator(".lab-layers")).to_contain_text("mean of 2 profiles", timeout=120_000)
    times.get_by_role("button", name="Stop", exact=True).click()
    expect(times.get_by_role("button", name="Look inside", exact=True)).to_be_visible(timeout=30_000)
    assert times.locator(".lab-layers__variant").first.get_by_role("listitem").count() > 3
    lab.screenshot("chapter-10-times-light", of=times)
    lab.theme("dark")
    lab.screenshot("chapter-10-dark", of=root)
    lab.screenshot("chapter-10-times-dark", of=times)
    lab.page.set_viewport_size({"width": 520, "height": 1600})
    lab.screenshot("chapter-10-narrow", of=root)
    lab.assert_clean()
