// The list of scenarios: rows are made as they scroll into view, what a row holds when it is opened.
(() => {
  const BATCH = 100; // rows made at once
  const data = JSON.parse(document.getElementById("data").textContent);
  const items = data.items;
  const form = document.querySelector(".filters");
  const search = document.getElementById("search");
  const selects = [...form.querySelectorAll("select")];
  const list = document.getElementById("list");
  const more = document.getElementById("more");
  const rows = new Map(); // of the items that were made
  const searched = new Map(); // what a search covers, of the items that were searched
  let chosen = items; // those that match the filters
  document.documentElement.classList.add("js");

  function text(item) {
    if (!searched.has(item)) {
      const tags = (item.tags || []).map((tag) => data.strings[tag]);
      const parts = [item.id, ...(item.texts || []).map(([, said]) => said), ...tags, item.why || ""];
      searched.set(item, parts.join(" ").replace(/\s+/g, " ").toLowerCase());
    }
    return searched.get(item);
  }

  function value(item, select) {
    const name = select.dataset.filter;
    return name === "outcome" ? data.outcomes[item.outcome] : data.strings[item.chosen[Number(name.slice(4))]];
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const set = selects.filter((select) => select.value);
    chosen = items.filter((item) => set.every((select) => value(item, select) === select.value)
      && words.every((word) => text(item).includes(word)));
    list.replaceChildren();
    show(BATCH);
    document.getElementById("count").value = `${chosen.length} of ${items.length}`;
    document.getElementById("none").hidden = chosen.length > 0;
  }

  function show(count) {
    list.append(...chosen.slice(list.childElementCount, count).map(row));
    more.hidden = list.childElementCount >= chosen.length;
  }

  function row(item) {
    if (!rows.has(item)) {
      const made = scenarioRow(item, data);
      made.firstChild.addEventListener("click", () => open(made, item)); // before it is shown
      made.addEventListener("toggle", () => made.open && open(made, item)); // by a link or a script
      rows.set(item, made);
    }
    return rows.get(item);
  }

  function open(made, item) {
    if (made.childElementCount > 1) return;
    made.append(scenarioBody(item, data));
    connect(made, item.timeline.seconds);
  }

  function follow(audio, head, seconds) {
    const place = () => {
      head.style.left = `${Math.min(100, (100 * audio.currentTime) / seconds)}%`;
      if (!audio.paused) requestAnimationFrame(place);
    };
    for (const name of ["play", "seeked", "timeupdate"]) {
      audio.addEventListener(name, () => {
        head.hidden = false;
        place();
      });
    }
  }

  function pauseOthers(playing) {
    for (const audio of document.querySelectorAll("audio")) if (audio !== playing) audio.pause();
  }

  function replace(audio) {
    const message = document.createElement("p");
    message.className = "absent";
    message.textContent = "The recording cannot be played: the audio folder of the run is not beside this file.";
    audio.replaceWith(message);
  }

  function connect(made, seconds) {
    const audio = made.querySelector("audio");
    const time = made.querySelector(".time");
    if (!audio) return;
    follow(audio, time.querySelector(".playhead"), seconds);
    audio.addEventListener("play", () => pauseOthers(audio));
    audio.addEventListener("error", () => replace(audio));
    time.classList.add("seek");
    time.addEventListener("click", (event) => {
      const box = time.getBoundingClientRect();
      audio.currentTime = (seconds * (event.clientX - box.left)) / box.width;
      audio.play().catch(() => {}); // the error event reports it
    });
  }

  function openLinked() {
    const item = items.find((each) => `#${each.anchor}` === location.hash);
    if (!item) return;
    if (!chosen.includes(item)) {
      form.reset();
      filter();
    }
    show(Math.max(list.childElementCount, chosen.indexOf(item) + 1));
    row(item).open = true;
    row(item).scrollIntoView();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  document.getElementById("clear").addEventListener("click", () => {
    form.reset();
    filter();
    search.focus();
  });
  more.querySelector("button").addEventListener("click", () => show(list.childElementCount + BATCH));
  new IntersectionObserver((seen) => seen[0].isIntersecting && show(list.childElementCount + BATCH),
    { rootMargin: "800px" }).observe(more);
  window.addEventListener("beforeprint", () => show(chosen.length));
  window.addEventListener("hashchange", openLinked);
  filter();
  openLinked();
})();
