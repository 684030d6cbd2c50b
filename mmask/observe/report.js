// A line under the pointer, and the numbers nearest to it.
for (const figure of document.querySelectorAll(".chart")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector("svg"), cursor = svg.querySelector(".cursor");
  const output = figure.querySelector("output"), [left, right, x0, x1] = data.x;
  const text = (v) => data.percent ? (100 * v).toFixed(1) + "%" : Number(v.toPrecision(4)).toString();
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const x = x0 + (at - left) / (right - left) * (x1 - x0);
    const near = data.series.map((s) => s.points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
    const spot = near.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a)[0];
    const place = left + (spot - x0) / (x1 - x0) * (right - left);
    cursor.setAttribute("x1", place); cursor.setAttribute("x2", place); cursor.classList.add("on");
    output.textContent = "step " + spot + "  " + data.series.map((s, i) => s.name + " " + text(near[i][1])).join("  ");
  });
  svg.addEventListener("pointerleave", () => {
    cursor.classList.remove("on"); output.textContent = "";
  });
}
