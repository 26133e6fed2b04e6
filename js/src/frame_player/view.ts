/** Pictures of a run as they come, and any kept one of them: this puts together the parts and the traits. */
import type { AnyModel } from "@anywidget/types";
import {
  Cleanup,
  element,
  liveRegion,
  setAttribute,
  setHidden,
  setText,
  shieldKeys,
} from "../lib/dom";
import { NextFrame, onSight } from "../lib/frames";
import { onChange } from "../lib/model";
import panelStyles from "../lib/panel.css";
import { markerEnds } from "../lib/steps";
import { themedRoot, watchTheme } from "../lib/theme";
import { JobButtons, RunButtons } from "./buttons";
import styles from "./frame_player.css";
import { Picture } from "./picture";
import { frameAt, type KeptFrame, type Run } from "./runs";
import type { Onlooker, Store, Traits } from "./store";
import { Tabs } from "./tabs";
import { originText, progressText, spokenText } from "./texts";
import { Track } from "./track";

const GAP = 16;
/** While pictures come, what stands beside them changes so often, in milliseconds: nobody reads ten numbers a second. */
const WORDS = 400;

export class FramePlayerView implements Onlooker {
  seen = true;
  near = true;
  readonly #root = themedRoot("cvz-panel cvz-player", panelStyles, styles);
  #cleanup = new Cleanup();
  #next = new NextFrame(() => this.#draw());
  #tabs = new Tabs(this.#cleanup, (run) => this.#choose({ run }));
  #picture = new Picture();
  #beside = new Picture();
  #stage = element("div", { class: "cvz-player-stage" }, this.#picture.root, this.#beside.root);
  #job = new JobButtons(this.#cleanup, (act) => this.store.act(act));
  #status = element("span", { class: "cvz-player-status" });
  #track = new Track(this.#cleanup, (step) => this.#choose({ step }));
  #more = new RunButtons(
    this.#cleanup,
    (act, details) => this.store.act(act, details),
    (other) => this.#choose({ other }),
  );
  #ended = element("div", { class: "cvz-player-ended" });
  #spoken = liveRegion();
  #room = 0;
  /** Whether more than the pictures is to be drawn anew, and when it was last. */
  #whole = true;
  #drawnAt = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly model: AnyModel<Traits>,
    private readonly store: Store,
    el: HTMLElement,
  ) {
    const buttons = element("div", { class: "cvz-buttons" }, this.#job.main, this.#job.stop);
    const line = element("div", { class: "cvz-player-line" }, buttons, this.#status);
    line.append(this.#track.latest);
    this.#root.append(
      this.#tabs.root,
      this.#stage,
      element("div", { class: "cvz-player-job" }, line),
      this.#track.root,
      this.#more.root,
      this.#ended,
      this.#spoken,
    );
    el.append(this.#root);
    this.#room = this.#stage.clientWidth;
    this.#listen();
    this.#draw();
    store.join(this);
  }

  close(): void {
    this.#next.cancel();
    this.#cleanup.run();
    this.store.leave(this);
    this.#root.remove();
  }

  refresh(whole: boolean): void {
    this.#whole ||= whole;
    this.#next.request();
  }

  #listen(): void {
    const traits: (keyof Traits & string)[] = ["state", "run", "step", "other"];
    onChange(this.model, traits, this.#cleanup, () => this.refresh(true));
    this.#cleanup.listen(this.#stage, "keydown", (event: KeyboardEvent) => {
      if (event.key === " " && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault(); // the page would scroll
        this.#job.press();
      } else {
        this.#track.press(event);
      }
    });
    shieldKeys(this.#root, this.#cleanup);
    watchTheme(this.#root, this.#cleanup, () => {});
    onSight(this.#root, this.#cleanup, (seen) => {
      this.seen = seen;
      this.store.tellSeen();
      this.#measure();
    });
    for (const type of ["pointerenter", "focusin"]) {
      this.#cleanup.listen(this.#root, type, () => this.store.poke());
    }
    let whole: Element | undefined;
    const observer = new ResizeObserver(() => {
      this.#measure();
      if (whole === undefined && this.#root.isConnected) {
        whole = wholeWidget(this.#root);
        onSight(whole, this.#cleanup, (near) => {
          this.near = near;
          this.store.tellSeen();
        });
      }
    });
    observer.observe(this.#stage);
    this.#cleanup.add(() => observer.disconnect());
  }

  /** Draw anew if there is more room, or less: to ask for it with each frame would lay out the page at once. */
  #measure(): void {
    const room = this.#stage.clientWidth;
    if (room !== this.#room) {
      this.#room = room;
      this.refresh(true);
    }
  }

  #choose(chosen: Partial<Traits>): void {
    this.store.choose(chosen);
    this.refresh(true);
  }

  #draw(): void {
    const { runs } = this.store;
    const run = runs.get(this.model.get("run"));
    const beside = this.model.get("other");
    const other = beside === run?.number ? undefined : runs.get(beside);
    const step = this.model.get("step");
    const frame = run && frameAt(run, this.store.live, step);
    const at = frame?.step ?? -1;
    const frameBeside = other && frameAt(other, this.store.live, at);
    const now = performance.now();
    if (!this.#whole && now - this.#drawnAt < WORDS && this.#drawNext(frame, frameBeside, other)) {
      this.#more.step = at; // what is saved is what is seen
      return;
    }
    this.#whole = false;
    this.#drawnAt = now;
    const room = (this.#room || 448) / (other === undefined ? 1 : 2) - (other ? GAP / 2 : 0);
    this.#show(this.#picture, run, frame, room);
    setHidden(this.#beside.root, other === undefined);
    if (other !== undefined) {
      this.#show(this.#beside, other, frameBeside, room);
    }
    this.#tabs.show(runs.all, run?.number ?? 0, other?.number ?? -1);
    this.#track.show(run, step, at);
    this.#showJob(run, at, other?.number ?? -1);
    this.#mark(run, other, at);
  }

  /** Draw the next pictures alone; returns whether that can be done. */
  #drawNext(
    frame: KeptFrame | undefined,
    beside: KeptFrame | undefined,
    other: Run | undefined,
  ): boolean {
    const { bitmaps } = this.store;
    const drawn = this.#picture.next(frame, bitmaps);
    return drawn && (other === undefined || this.#beside.next(beside, bitmaps));
  }

  /** Show a frame of a run, if there is one, and what it is. */
  #show(picture: Picture, run: Run | undefined, frame: KeptFrame | undefined, room: number): void {
    const name = run === undefined ? "" : `run ${run.number}`;
    picture.show(frame, this.store.bitmaps, room, {
      title: [frame && `step ${frame.step}`, name].filter(Boolean).join(" \u00b7 "),
      about: run === undefined ? "" : [originText(run), run.text].filter(Boolean).join(": "),
      empty: run === undefined ? "Press Start" : "The first picture is being computed",
      label: `Picture of ${name || "no run"}; Space starts, pauses and resumes`,
    });
  }

  #showJob(run: Run | undefined, at: number, other: number): void {
    const { connected, asked, rate, runs } = this.store;
    const state = this.model.get("state");
    const newest = runs.newest;
    this.#job.show(state, connected, asked);
    setText(
      this.#status,
      progressText(newest, newest?.state ?? state, rate, connected, newest === run),
    );
    this.#more.show(runs.all, run, at, other, { state, number: newest?.number ?? 0, connected });
    setText(this.#ended, run?.ended ?? "");
    this.#ended.classList.toggle("cvz-player-failed", run?.state === "failed");
    setText(this.#spoken, spokenText(newest, state));
    setAttribute(this.#root, "data-state", state);
  }

  /** Move the marker of a chart; nobody but other widgets of the page needs to know. */
  #mark(run: Run | undefined, other: Run | undefined, at: number): void {
    const shown = [run, other].filter((each) => each !== undefined);
    const low = Math.min(...shown.map(({ first }) => first + 1));
    const high = Math.max(...shown.map(({ latest }) => latest));
    // The latest frame stands for where its run is, though steps may have been done since it was made.
    const meant = this.model.get("step") < 0 ? (run?.latest ?? at) : at;
    const step = Math.min(Math.max(meant, low), high);
    const ends = markerEnds(shown.length > 0 ? [low, step, high] : [], step);
    if (this.model.get("marker_low") !== ends.marker_low) {
      this.model.set("marker_low", ends.marker_low);
      this.model.set("marker_high", ends.marker_high);
    }
  }
}

/** The outermost widget that a view is part of; by itself it is one. */
function wholeWidget(root: Element): Element {
  let found = root;
  for (let node: Element | null = root; node !== null; ) {
    found = node;
    node = node.parentElement?.closest(".jupyter-widgets") ?? null;
  }
  return found;
}
