/** The page's side of `cnnviz_widgets.views.embedding_map.EmbeddingMap`, and of `LinkedMap` beside it. */
import type { AnyModel, AnyWidget } from "@anywidget/types";
import {
  MapStore,
  type Model,
  type Places,
  POINT_TRAITS,
  sharedOf,
  THUMBNAIL_TRAITS,
} from "./embedding_map/state";
import { EmbeddingMapView } from "./embedding_map/view";
import { Cleanup } from "./lib/dom";

const widget: AnyWidget<Places> = () => {
  // Once a model: points are indexed and thumbnails decoded here, however many views show them.
  const store = new MapStore();
  let shared: Model;
  return {
    async initialize({ model }) {
      shared = await sharedOf(model);
      const cleanup = new Cleanup();
      const forget = (of: AnyModel, traits: readonly string[], drop: () => void) => {
        for (const trait of traits) {
          of.on(`change:${trait}`, drop);
          cleanup.add(() => of.off(`change:${trait}`, drop));
        }
      };
      forget(model, POINT_TRAITS, () => store.forgetPoints());
      forget(shared, THUMBNAIL_TRAITS, () => store.forgetThumbnails());
      cleanup.add(() => store.forgetThumbnails());
      return () => cleanup.run();
    },
    render({ model, el }) {
      const view = new EmbeddingMapView(model, shared, store, el);
      return () => view.close();
    },
  };
};

export default widget;
