// The page asks for itself anew when the log has grown, and once a minute, for lights change with no event.
"use strict";
(() => {
  const QUIET = 2500, MINUTE = 60000;
  let asking = false, again = false, soon = 0;

  const live = (on) => document.getElementById("live")?.classList.toggle("on", on);

  async function renew() {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("main"), old = document.querySelector("main");
      const aside = old.querySelector(".scroll")?.scrollLeft ?? 0;
      old.replaceWith(fresh);
      fresh.querySelector(".scroll")?.scrollTo(aside, 0);
      live(stream.readyState === EventSource.OPEN);
    } catch { live(false); } finally {
      asking = false;
      if (again) { again = false; later(); }
    }
  }

  function later() {
    if (!soon) soon = setTimeout(() => { soon = 0; renew(); }, QUIET);
  }

  function age() {
    const fresh = document.getElementById("fresh"), at = Date.parse(fresh?.dateTime);
    if (Number.isNaN(at)) return;
    const seconds = Math.max(0, Math.floor((Date.now() - at) / 1000));
    const [size, unit] = [[86400, "天"], [3600, "小时"], [60, "分钟"], [1, "秒"]].find(([n]) => seconds >= n || n === 1);
    fresh.textContent = `${Math.floor(seconds / size)} ${unit}前`;
  }

  const stream = new EventSource("/board");
  stream.addEventListener("open", () => live(true));
  stream.addEventListener("error", () => {
    live(false);
    if (stream.readyState === EventSource.CLOSED) later();
  });
  stream.addEventListener("grown", (told) => {
    if (told.data !== document.querySelector("main").dataset.position) later();
  });
  setInterval(renew, MINUTE);
  setInterval(age, 1000);
})();
