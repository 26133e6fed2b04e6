/** The page's side of `cnnviz_widgets.views.timeline.Timeline`. */
import type { AnyWidget } from "@anywidget/types";
import { TimelineView, type Traits } from "./timeline/view";

const widget: AnyWidget<Traits> = {
  render({ model, el }) {
    const view = new TimelineView(model, el);
    return () => view.close();
  },
};

export default widget;
