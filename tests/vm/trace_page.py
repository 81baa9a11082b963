"""The page of a guest's trace: the plot, what the exits cost, and a button that hands the trace, which
the page carries, to Perfetto. Nothing is fetched until that is pressed; Perfetto's page keeps the trace in
the browser. Perfetto: Visualising large traces; Deep linking to the Perfetto UI."""

import base64
import gzip
import html

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .15em .8em; text-align: right; border-bottom: 1px solid #ddd }}
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) {{ text-align: left }}
button {{ font: inherit; padding: .4em 1em }}
img {{ max-width: 100% }}
</style>
<h1>{title}</h1>
<p><button id="open">Open in Perfetto</button> <button id="save">Save the trace</button>
<span id="said"></span></p>
{picture}
<h2>What the exits cost</h2>
<p>Times in ns of the machine's clock. Own: the monitor's; guest: what the guest ran before the exit.</p>
<table><tr><th>exit<th><th>count<th>own<th>mean<th>min<th>max<th>guest, mean</tr>
{rows}
</table>
<script id="trace" type="application/octet-stream">{trace}</script>
<script>
const PERFETTO = "https://ui.perfetto.dev", NAME = {name};
const said = text => document.getElementById("said").textContent = text;
async function trace() {{
  const packed = Uint8Array.from(atob(document.getElementById("trace").textContent), c => c.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}}
document.getElementById("open").onclick = () => {{
  const page = window.open(PERFETTO);
  if (!page) {{ said("the browser keeps the page from opening another; or load the .json file there"); return; }}
  const timer = setInterval(() => page.postMessage("PING", PERFETTO), 100);
  window.addEventListener("message", async event => {{
    if (event.origin !== PERFETTO || event.data !== "PONG" || event.source !== page) return;
    clearInterval(timer);
    const buffer = await trace();
    page.postMessage({{perfetto: {{buffer, title: NAME, fileName: NAME + ".json"}}}}, PERFETTO);
    said("handed to Perfetto");
  }});
}};
document.getElementById("save").onclick = async () => {{
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([await trace()], {{type: "application/json"}}));
  link.download = NAME + ".json";
  link.click();
}};
</script>
</html>
"""


def rows_of(accounts):
    def ns(counts):
        return counts * 1000000000 // accounts["hz"]

    for row in sorted(accounts["exits"], key=lambda row: -row["own"]["sum"]):
        own = [ns(row["own"][key]) for key in ("sum", "mean", "min", "max")]
        cells = [row["reason"], row["what"], row["count"], *own, ns(row["guest"]["mean"])]
        yield "<tr>" + "".join(f"<td>{html.escape(str(cell))}" for cell in cells) + "</tr>"


def write(path, name, text, accounts, picture=None):
    """text: the trace, as JSON; accounts: what `exits json` says; picture: a PNG file."""
    shown = ""
    if picture is not None:
        with open(picture, "rb") as file:
            data = base64.b64encode(file.read()).decode()
        shown = f'<p><img alt="exits over time" src="data:image/png;base64,{data}"></p>'
    # An f-string's worth of values into a page whose braces are doubled; a guest's name has no quotes.
    page = PAGE.format(title=html.escape(f"Exits of {name}"), picture=shown, rows="\n".join(rows_of(accounts)),
                       trace=base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode(), name=f'"{name}"')
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)
