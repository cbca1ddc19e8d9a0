{
  const report = JSON.parse(document.getElementById("data").textContent);
  const { title, parts } = report;
  document.title = title;
  document
    .getElementById("page")
    .replaceChildren(makeHeader(report), ...makeContents(parts), ...parts.map(makeSection));
  const seen = () => {
    performance.mark("seen");
    drawCharts();
  };
  // a timeout of an animation frame comes after the frame is painted
  Promise.allSettled(SLOTS).then(() => requestAnimationFrame(() => setTimeout(seen)));
}
