/** The page's side of `cnnviz_widgets.views.layer_tree.LayerTree`. */
import type { AnyWidget } from "@anywidget/types";
import { LayerTreeView, type Traits } from "./layer_tree/view";

const widget: AnyWidget<Traits> = {
  render({ model, el }) {
    const view = new LayerTreeView(model, el);
    return () => view.close();
  },
};

export default widget;
