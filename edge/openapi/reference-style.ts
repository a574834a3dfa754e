export const style = `
:root{color-scheme:light dark;--line:#8883;--dim:#888;--accent:#2563eb}
*{box-sizing:border-box}
body{margin:0;display:grid;grid-template-columns:19rem minmax(0,1fr);font:15px/1.55 system-ui,sans-serif}
nav{position:sticky;top:0;height:100vh;overflow:auto;padding:1.2rem;border-right:1px solid var(--line);font-size:13px}
nav h2{font-size:12px;margin:1.2rem 0 .3rem;color:var(--dim);text-transform:uppercase;letter-spacing:.05em}
nav ul{list-style:none;margin:0;padding:0}
nav a{color:inherit;text-decoration:none;display:block;padding:.1rem 0;overflow-wrap:anywhere}
nav a:hover{text-decoration:underline}
nav .home{font-weight:700;font-size:16px}
main{padding:1.5rem 2.5rem 6rem;max-width:64rem}
h1 small{font-weight:400;color:var(--dim);font-size:.5em}
h2.tag{margin-top:3rem;border-bottom:2px solid var(--line);padding-bottom:.3rem}
section{margin:2rem 0;scroll-margin-top:1rem}
h3{margin-bottom:.3rem;font-size:1.05rem}
h4{margin:1rem 0 .2rem;font-size:.85rem;color:var(--dim)}
a{color:var(--accent)}
code{font:13px/1.4 ui-monospace,monospace;background:#8882;padding:.1em .3em;border-radius:3px;overflow-wrap:anywhere}
b{font:700 11px ui-monospace,monospace;display:inline-block;min-width:3.4em}
.get{color:#15803d}.post{color:#2563eb}.put,.patch{color:#b45309}.delete{color:#dc2626}
table{border-collapse:collapse;width:100%}
td{border-top:1px solid var(--line);padding:.35rem .6rem .35rem 0;vertical-align:top}
td:first-child{width:34%}
td.status{width:4rem;font-family:ui-monospace,monospace}
.s2{color:#15803d}.s4{color:#b45309}.s5{color:#dc2626}
td p{margin:.1rem 0;color:var(--dim)}
small{color:var(--dim)}
.auth{font-size:12px;border:1px solid var(--line);border-radius:99px;padding:.1rem .6rem;color:var(--dim)}
details{margin-left:.2rem}
summary{cursor:pointer;color:var(--dim);font-size:13px}
@media(max-width:52rem){body{display:block}nav{position:static;height:auto;border:0;border-bottom:1px solid var(--line)}main{padding:1rem}}
`
