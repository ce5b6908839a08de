// What the features of the page share: the run's data, numbers as the C++ side prints them, and the tooltip.
const attnlab = (() => {
  "use strict";

  const data = JSON.parse(document.getElementById("run-data").textContent);

  /** An element with attributes and children; text is only ever set as text. */
  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  }

  function select(label, options, onChange) {
    const box = element("select");
    for (const [value, text] of options) box.append(element("option", { value }, text));
    box.addEventListener("change", () => onChange(box.value));
    return { box, label: element("label", {}, label, box) };
  }

  function button(text, label, onClick) {
    const node = element("button", { type: "button", class: "plain", "aria-label": label }, text);
    node.addEventListener("click", onClick);
    return node;
  }

  /** Puts controls below the heading of a section. */
  function addControls(section, ...controls) {
    const group = element("div", { class: "controls" }, ...controls);
    section.querySelector("h2").after(group);
    return group;
  }

  /** A figure of the data: null is not a number, infinities are strings. */
  const figure = (value) => (value === null ? NaN : Number(value));

  /** As report::number. */
  function number(value, digits = 3) {
    if (Number.isNaN(value)) return "-";
    if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
    if (value === 0) return "0";
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e").map(Number);
    if (exponent < -2 || exponent >= 4) return `${mantissa.toFixed(digits - 1)}e${exponent}`;
    return value.toFixed(Math.max(0, digits - 1 - exponent));
  }

  /** As report::percent: only 1 is 100 %. */
  function percent(share, digits = 3) {
    if (!Number.isFinite(share) || share === 0) return number(share) + (share === 0 ? " %" : "");
    if (share < 1 && Number((share * 100).toPrecision(digits)) >= 100) {
      for (let more = 0; more < 4; ++more) {
        const text = (share * 100).toFixed(more);
        if (!text.startsWith("100")) return text + " %";
      }
      return "<100 %";
    }
    return number(share * 100, digits) + " %";
  }

  const tip = element("div", { id: "tip", role: "tooltip", hidden: true });
  document.body.append(tip);

  /** Shows (label, text) pairs under a title, next to the client rectangle `place`. */
  function showTip(place, title, facts) {
    const list = element("dl");
    for (const [label, text] of facts) list.append(element("dt", {}, label), element("dd", {}, text));
    tip.replaceChildren(element("b", {}, title), list);
    tip.hidden = false;
    const room = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, place.right + 10), Math.max(8, room - tip.offsetWidth - 8));
    const above = place.top - tip.offsetHeight - 8;
    const top = above > 0 ? above : place.bottom + 8;
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${top + window.scrollY}px`;
  }

  const hideTip = () => (tip.hidden = true);

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hideTip();
  });

  /** Makes one of `nodes` the only Tab stop among them. */
  function rove(nodes, chosen) {
    for (const node of nodes) node.tabIndex = node === chosen ? 0 : -1;
  }

  return { data, element, select, button, addControls, figure, number, percent, showTip, hideTip, rove };
})();
