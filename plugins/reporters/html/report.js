"use strict";
(() => {
  const root = document.documentElement;
  const form = document.querySelector(".filters");
  const search = document.getElementById("search");
  const selects = [...form.querySelectorAll("select")];
  const scenarios = [...document.querySelectorAll(".scenario")];
  root.classList.add("js");

  function matches(item, words) {
    const chosen = selects.every((select) => !select.value || item.getAttribute("data-" + select.dataset.filter) === select.value);
    return chosen && words.every((word) => item.dataset.search.includes(word));
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of scenarios) {
      item.hidden = !matches(item, words);
      shown += !item.hidden;
    }
    document.getElementById("count").value = `${shown} of ${scenarios.length}`;
    document.getElementById("none").hidden = shown > 0;
  }

  function clear() {
    form.reset();
    filter();
    search.focus();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  document.getElementById("clear").addEventListener("click", clear);

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

  function connect(item) {
    const audio = item.querySelector("audio");
    const time = item.querySelector(".time");
    if (!audio || audio.dataset.connected) return;
    audio.dataset.connected = "yes";
    const seconds = Number(time.dataset.duration);
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
    const item = location.hash.startsWith("#scenario-") && document.getElementById(location.hash.slice(1));
    if (!item) return;
    item.open = true;
    item.scrollIntoView();
  }

  for (const item of scenarios) item.addEventListener("toggle", () => item.open && connect(item));
  window.addEventListener("hashchange", openLinked);
  openLinked();
  filter();
})();
