/** The page's side of `cnnviz_widgets.views.tile_grid.TileGrid`. */
import type { AnyWidget } from "@anywidget/types";
import { Cleanup } from "./lib/dom";
import { DATA_TRAITS, TileStore, type Traits } from "./tile_grid/state";
import { TileGridView } from "./tile_grid/view";

const widget: AnyWidget<Traits> = () => {
  // Once a model: the tiles are decoded here, however many views show them.
  const store = new TileStore();
  return {
    initialize({ model }) {
      const cleanup = new Cleanup();
      for (const trait of DATA_TRAITS) {
        const forget = () => store.clear();
        model.on(`change:${trait}`, forget);
        cleanup.add(() => model.off(`change:${trait}`, forget));
      }
      return () => cleanup.run();
    },
    render({ model, el }) {
      const view = new TileGridView(model, store, el);
      return () => view.close();
    },
  };
};

export default widget;
