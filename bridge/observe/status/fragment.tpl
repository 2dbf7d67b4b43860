% def sign(mark):
<svg class="sign {{mark}}" viewBox="0 0 20 20" aria-hidden="true">
%   if mark == "ok":
<circle cx="10" cy="10" r="9"/><path d="M5.5 10.5l3 3 6-7"/>
%   elif mark == "look":
<path class="body" d="M10 1.5L19 18H1z"/><path d="M10 7v5M10 14.4v1.2"/>
%   elif mark == "stopped":
<path class="body" d="M6.3 1h7.4L19 6.3v7.4L13.7 19H6.3L1 13.7V6.3z"/><path d="M6.7 6.7l6.6 6.6M13.3 6.7l-6.6 6.6"/>
%   else:
<circle class="hollow" cx="10" cy="10" r="7.5"/>
%   end
</svg>
% end
% def number(value):
{{f"{value:,}"}}\\
% end
<header id="top" data-title="{{title}}" data-icon="{{icon}}">
<h1><span>Universal Camunda Worker</span> {{installation.worker_id}}</h1>
<p class="headline {{headline[0]}}" role="status">
% sign(headline[0])
<span>{{headline[1]}}</span></p>
</header>
<section id="troubles" aria-label="What needs a look">
% if troubles:
<ul>
% for trouble in troubles:
<li class="{{trouble.level.value}}">
% sign(trouble.level.value)
<div><p>{{trouble.text}}</p><code>\\
% for word in trouble.command.split():
<span>{{word}}</span> \\
% end
</code></div></li>
% end
</ul>
% end
</section>
<main id="flow">
<section class="box engine" aria-labelledby="h-engine">
<h2 id="h-engine">Engine</h2>
<p class="state">
% sign("stopped" if now.engine_trouble else "ok")
{{"away" if now.engine_trouble else "reachable"}}</p>
<p class="where">{{installation.engine}}</p>
</section>
<div class="arrow out {{"broken" if out_is_broken else ""}}">
% if not now.fetches:
<b>–</b><span>tasks are fetched by another process</span>
% else:
<b>\\
% number(fetched)
</b><span>tasks {{"stopped" if out_is_broken else "in the last minute"}}</span>
% end
</div>
<section class="box systems" aria-labelledby="h-systems">
<h2 id="h-systems">Systems <small>through RabbitMQ, {{installation.broker}}</small></h2>
<table>
<thead><tr><th scope="col">system</th><th scope="col">state</th><th scope="col">waiting</th><th scope="col">consumers</th><th scope="col">in flight</th><th scope="col">oldest</th><th scope="col">out<small>/min</small></th><th scope="col">back<small>/min</small></th></tr></thead>
<tbody>
% for row in rows:
<tr class="{{row.mark}}"><th scope="row">{{row.view.name}}</th>
<td class="words">
% sign(row.mark)
{{row.state}}</td>
% known = row.view.queue.is_known
<td data-label="waiting">{{f"{row.view.queue.ready:,}" if known else "?"}}</td>
<td data-label="consumers">{{row.view.queue.consumers if known else "?"}}</td>
<td data-label="in flight">{{f"{row.view.in_flight:,}" if now.fetches else "–"}}</td>
<td data-label="oldest">{{row.oldest}}</td>
<td data-label="out/min">{{f"{row.published:,}" if now.fetches else "–"}}</td>
<td data-label="back/min">{{f"{row.answered:,}" if now.fetches else "–"}}</td></tr>
% end
</tbody>
</table>
</section>
<div class="arrow in {{"broken" if in_is_broken else ""}}"><b>\\
% number(arrived)
</b><span>answers {{"not read" if in_is_broken else "in the last minute"}}</span></div>
<section class="box answers" aria-labelledby="h-answers">
<h2 id="h-answers">Answers</h2>
% if now.subscribed is None:
<p class="state">
% sign("idle")
read by another process</p>
% else:
<p class="state">
% sign("ok" if now.subscribed else "stopped")
{{"read" if now.subscribed else "not read"}}</p>
% end
<dl>
<div><dt>waiting</dt><dd>{{f"{now.answers.ready:,}" if now.answers.is_known else "?"}}</dd></div>
<div><dt>delayed<small>/min</small></dt><dd>{{delayed}}</dd></div>
<div class="{{"look" if now.errors.ready else ""}}"><dt>error queue</dt><dd>{{f"{now.errors.ready:,}" if now.errors.is_known else "?"}}</dd></div>
</dl>
</section>
<div class="back {{"broken" if now.engine_trouble else ""}}"><span><b>\\
% number(applied)
</b> answers applied at the engine{{": stopped" if now.engine_trouble else " in the last minute"}}</span></div>
</main>
<section id="errors" aria-labelledby="h-errors">
<h2 id="h-errors">Last errors in the log</h2>
% if errors:
<ol>
% for error in errors:
<li><time datetime="{{error.moment.isoformat()}}">{{error.moment.strftime("%d.%m. %H:%M:%S")}}</time> <span>{{error.text}}</span></li>
% end
</ol>
% else:
<p>none since the start</p>
% end
</section>
<footer id="foot">version {{version}}, up {{up}}, as of {{clock}} · <a href="metrics">metrics</a> · <a href="livez">livez</a> · <a href="readyz">readyz</a></footer>
