/** The page's side of `cnnviz_widgets.views.frame_player.FramePlayer`. */
import type { AnyWidget } from "@anywidget/types";
import { Store, type Traits } from "./frame_player/store";
import { FramePlayerView } from "./frame_player/view";

const widget: AnyWidget<Traits> = () => {
  // Once a model, however many views show it: frames arrive, and are decoded, here.
  let store: Store;
  return {
    initialize({ model }) {
      store = new Store(model);
      return () => store.close();
    },
    render({ model, el }) {
      const view = new FramePlayerView(model, store, el);
      return () => view.close();
    },
  };
};

export default widget;
