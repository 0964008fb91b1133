// A view as an anywidget front-end module (https://anywidget.dev/en/afm): its records come in traits, and what the reader
// asks for goes out in one.
//
// | trait | |
// | --- | --- |
// | view | "summary", "list", "feature", "map", "experiment", "panels", "check", "comparison", "forest" or "graph" |
// | records | the view's records, as the server's pages have them |
// | map | the whole map, apart because it is large and stays |
// | path | written here: "/features/12", "/features?query=import", "/map?query=import" |
// | opens | whether anyone answers a path with new records |
import { mount, unmount, type Component } from 'svelte';
import Widget from './Widget.svelte';

interface Model {
  get(key: string): any;
  set(key: string, value: unknown): void;
  save_changes(): void;
  on(event: string, listener: () => void): void;
  off(event: string, listener: () => void): void;
}

export interface Traits {
  view: string;
  records: Record<string, any>;
  map: any;
  opens: boolean;
}

const KEYS = ['view', 'records', 'map', 'opens'] as const;

export function afm(views: Record<string, Component<any>>) {
  return {
    render({ model, el }: { model: Model; el: HTMLElement }) {
      const read = () => Object.fromEntries(KEYS.map((key) => [key, model.get(key)])) as unknown as Traits;
      let traits = $state.raw(read());
      const changed = () => (traits = read());
      for (const key of KEYS) model.on(`change:${key}`, changed);
      const ask = (path: string) => {
        model.set('path', path);
        model.save_changes();
      };
      const widget = mount(Widget, { target: el, props: { views, ask, get traits() { return traits; } } });
      return () => {
        for (const key of KEYS) model.off(`change:${key}`, changed);
        void unmount(widget);
      };
    },
  };
}
