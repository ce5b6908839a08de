// The theme's button and the button that copies the command.
(() => {
  "use strict";

  const { element, button } = attnlab;
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

  const theme = button("", "", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    refresh();
  });
  theme.classList.add("theme");
  function refresh() {
    theme.textContent = isDark() ? "Light theme" : "Dark theme";
    theme.setAttribute("aria-label", `switch to the ${isDark() ? "light" : "dark"} theme`);
    document.dispatchEvent(new Event("attnlab-theme"));
  }
  dark.addEventListener("change", refresh);
  document.querySelector("main").prepend(theme);
  refresh();

  const command = document.getElementById("command");
  const status = element("span", { class: "small", role: "status" });
  const copy = button("Copy command", "Copy command", async () => {
    try {
      await navigator.clipboard.writeText(command.textContent);
      status.textContent = "copied";
    } catch {
      // Without leave to write the clipboard, the selected text is one key away from it.
      const range = document.createRange();
      range.selectNodeContents(command);
      window.getSelection().removeAllRanges();
      window.getSelection().addRange(range);
      status.textContent = "selected: copy it with Ctrl+C";
    }
  });
  command.before(element("div", { class: "controls" }, copy, status));
})();
