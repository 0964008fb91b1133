// The faint edges of a graph, drawn once on a sheet larger than the picture, which is then only moved: a frame costs the same
// however many edges there are. A new sheet is drawn a few milliseconds at a time, and shown when it is done.
import type { Layout, View } from './graph_layout';
import { paintFaint, type Inks } from './graph_paint';
import type { Scene } from './graph_scene';

/** Of the picture's size, on each side. */
const MARGIN = 0.3;
/** Milliseconds of a frame: while something is seen to move, and before there is anything to see. */
const [SLICE, FIRST] = [6, 24];

interface Sheet {
  canvas: OffscreenCanvas;
  view: View;
  ratio: number;
  marginX: number;
  marginY: number;
}

export class EdgeLayer {
  #sheet: Sheet | undefined;
  #next: Sheet | undefined;
  #drawn = 0;
  #of: [Scene, Layout, Inks] | undefined;

  /** Draws some more of what lacks for this view. Returns whether more is to be done. */
  work(scene: Scene, layout: Layout, view: View, inks: Inks, ratio: number, moving: boolean): boolean {
    if (!this.#of || this.#of[0] !== scene || this.#of[1] !== layout || this.#of[2] !== inks) {
      this.#of = [scene, layout, inks];
      this.#sheet = undefined; // what was drawn is of something else
      this.#begin(layout, view, ratio);
    } else if (!this.#next && this.#sheet && (moving ? !this.#covers(this.#sheet, layout, view) : !same(this.#sheet.view, view))) {
      this.#begin(layout, view, ratio);
    } else if (this.#next && !this.#covers(this.#next, layout, view)) {
      this.#begin(layout, view, ratio);
    }
    if (!this.#next) return false;
    const until = performance.now() + (this.#sheet ? SLICE : FIRST);
    const ctx = this.#next.canvas.getContext('2d')!;
    ctx.setTransform(ratio, 0, 0, ratio, this.#next.marginX * ratio, this.#next.marginY * ratio);
    this.#drawn = paintFaint(ctx, scene, layout, this.#next.view, inks, this.#drawn, () => performance.now() > until);
    if (this.#drawn < scene.links.length) return true;
    [this.#sheet, this.#next] = [this.#next, undefined];
    return false;
  }

  /** Puts the sheet where it belongs in this view. */
  put(ctx: CanvasRenderingContext2D, layout: Layout, view: View, alpha: number): void {
    const sheet = this.#sheet ?? this.#next;
    if (!sheet) return;
    const scale = view.zoom / sheet.view.zoom;
    const x = layout.width / 2 - (sheet.marginX + layout.width / 2) * scale + (sheet.view.x - view.x) * view.zoom;
    const y = layout.height / 2 - (sheet.marginY + layout.height / 2) * scale + (sheet.view.y - view.y) * view.zoom;
    ctx.globalAlpha = alpha;
    ctx.drawImage(sheet.canvas, x, y, (layout.width + 2 * sheet.marginX) * scale, (layout.height + 2 * sheet.marginY) * scale);
    ctx.globalAlpha = 1;
  }

  #begin(layout: Layout, view: View, ratio: number): void {
    // At the whole picture there is nothing beyond it.
    const margin = view.zoom > 1 ? MARGIN : 0;
    const marginX = Math.round(layout.width * margin);
    const marginY = Math.round(layout.height * margin);
    const canvas = new OffscreenCanvas(Math.round((layout.width + 2 * marginX) * ratio), Math.round((layout.height + 2 * marginY) * ratio));
    this.#next = { canvas, view, ratio, marginX, marginY };
    this.#drawn = 0;
  }

  #covers(sheet: Sheet, layout: Layout, view: View): boolean {
    const scale = view.zoom / sheet.view.zoom;
    if (scale < 0.75 || scale > 1.6) return false;
    return (
      contains(sheet.view.x, (layout.width / 2 + sheet.marginX) / sheet.view.zoom, view.x, layout.width / 2 / view.zoom, layout.width) &&
      contains(sheet.view.y, (layout.height / 2 + sheet.marginY) / sheet.view.zoom, view.y, layout.height / 2 / view.zoom, layout.height)
    );
  }
}

/** Whether what is seen round `at` lies within `reach` of the middle, as far as there is anything: from 0 to `size`. */
const contains = (middle: number, reach: number, at: number, half: number, size: number): boolean =>
  Math.max(0, at - half) >= middle - reach - 0.5 && Math.min(size, at + half) <= middle + reach + 0.5;

const same = (a: View, b: View) => a.x === b.x && a.y === b.y && a.zoom === b.zoom;
