const stale = document.getElementById("stale");
async function refresh() {
  try {
    const answer = await fetch("fragment", { signal: AbortSignal.timeout(5000) });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of fresh.querySelectorAll("[id]")) {
      const shown = document.getElementById(part.id);
      if (shown && shown.outerHTML !== part.outerHTML) shown.replaceWith(part);
    }
    const { title, icon } = document.getElementById("top").dataset;
    document.title = title;
    document.querySelector("link[rel=icon]").href = icon;
    stale.hidden = answer.ok;
  } catch {
    stale.hidden = false;
  }
  setTimeout(refresh, 2000);
}
setTimeout(refresh, 2000);
