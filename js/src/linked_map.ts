/**
 * The page's side of `cnnviz_widgets.views.linked_map.LinkedMap`: the module of the map that it goes along with,
 * taken from that map's model, as a saved notebook would else carry a large module twice.
 */
import type { AnyWidget } from "@anywidget/types";

interface Traits extends Record<string, unknown> {
  map: string;
}

type Definition = Exclude<AnyWidget<Traits>, () => unknown>;
interface Module {
  default(): Definition;
}

const widget: AnyWidget<Traits> = () => {
  let map: Definition;
  return {
    async initialize(props) {
      const id = props.model.get("map").replace("IPY_MODEL_", "");
      const other = await props.model.widget_manager.get_model<{ _esm: string }>(id);
      const url = URL.createObjectURL(new Blob([other.get("_esm")], { type: "text/javascript" }));
      try {
        map = ((await import(url)) as Module).default();
      } finally {
        URL.revokeObjectURL(url);
      }
      return await map.initialize?.(props);
    },
    render: (props) => map.render?.(props),
  };
};

export default widget;
