/** The page's side of `cnnviz_widgets.views.embedding_map.EmbeddingMap`. */
import type { AnyWidget } from "@anywidget/types";
import { MapStore, POINT_TRAITS, THUMBNAIL_TRAITS, type Traits } from "./embedding_map/state";
import { EmbeddingMapView } from "./embedding_map/view";
import { Cleanup } from "./lib/dom";

const widget: AnyWidget<Traits> = () => {
  // Once a model: points are indexed and thumbnails decoded here, however many views show them.
  const store = new MapStore();
  return {
    initialize({ model }) {
      const cleanup = new Cleanup();
      const forget = (traits: readonly string[], drop: () => void) => {
        for (const trait of traits) {
          model.on(`change:${trait}`, drop);
          cleanup.add(() => model.off(`change:${trait}`, drop));
        }
      };
      forget(POINT_TRAITS, () => store.forgetPoints());
      forget(THUMBNAIL_TRAITS, () => store.forgetThumbnails());
      cleanup.add(() => store.forgetThumbnails());
      return () => cleanup.run();
    },
    render({ model, el }) {
      const view = new EmbeddingMapView(model, store, el);
      return () => view.close();
    },
  };
};

export default widget;
