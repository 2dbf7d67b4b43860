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
% AS_IN_THE_LOG = "%Y-%m-%d %H:%M:%S"
% def moment(at):
<time datetime="{{at.isoformat()}}">{{at.strftime(AS_IN_THE_LOG)}}</time>\\
% end
<header id="top" data-title="{{title}}" data-icon="{{icon}}">
<h1><span>Universal Camunda Worker</span> {{installation.worker_id}}</h1>
<p class="headline {{headline[0]}}" role="status">
% sign(headline[0])
<span>{{headline[1]}}</span></p>
</header>
<section id="troubles" aria-label="{{_("What needs a look")}}">
% if troubles:
<ul>
% for trouble in troubles:
<li class="{{trouble.level.value}}">
% sign(trouble.level.value)
<div><p>{{trouble.text}}</p>\\
% for command in (trouble.command, *trouble.mending):
<code>\\
%   for word in command.split(" "):
<span>{{word}}</span> \\
%   end
</code>\\
% end
</div></li>
% end
</ul>
% end
</section>
<main id="flow">
<section class="box engine" aria-labelledby="h-engine">
<h2 id="h-engine">{{_("Engine")}}</h2>
<p class="state">
% sign("stopped" if now.engine_trouble else "ok")
{{_("unavailable") if now.engine_trouble else _("reachable")}}</p>
<p class="where">{{installation.engine}}</p>
</section>
<div class="arrow out {{"broken" if out_is_broken else ""}}">
% if not now.fetches:
<b>–</b><span>{{_("tasks are fetched by another process")}}</span>
% else:
<b>{{grouped(fetched)}}</b><span>{{_("tasks: stopped") if out_is_broken else ngettext("task in the last minute", "tasks in the last minute", fetched)}}</span>
% end
</div>
<section class="box systems" aria-labelledby="h-systems">
<h2 id="h-systems">{{_("Systems")}} <small>{{_("through RabbitMQ, {place}").format(place=translated(installation.broker))}}</small></h2>
<table>
<thead><tr><th scope="col">{{_("system")}}</th><th scope="col">{{_("state")}}</th>
% for label in (_("waiting"), _("consumers"), _("in flight"), _("oldest"), _("out/min"), _("back/min")):
<th scope="col">{{label}}</th>
% end
<th scope="col">{{_("last hour")}} <small><span class="rate">{{_("rate")}}</span>, <span class="waiting">{{_("waiting")}}</span></small></th></tr></thead>
<tbody>
% for row in rows:
<tr class="{{row.mark}}"><th scope="row">{{row.view.name}}</th>
<td class="words">
% sign(row.mark)
{{row.state}}</td>
% known = row.view.queue.is_known
<td data-label="{{_("waiting")}}">{{grouped(row.view.queue.ready) if known else "?"}}</td>
<td data-label="{{_("consumers")}}">{{row.view.queue.consumers if known else "?"}}</td>
<td data-label="{{_("in flight")}}">{{grouped(row.view.in_flight) if now.fetches else "–"}}</td>
<td data-label="{{_("oldest")}}">{{row.oldest}}</td>
<td data-label="{{_("out/min")}}">{{grouped(row.published) if now.fetches else "–"}}</td>
<td data-label="{{_("back/min")}}">{{"–" if row.answered is None else grouped(row.answered)}}</td>
<td class="hour" data-label="{{_("last hour")}}">\\
% if row.hour:
<svg class="sparkline" viewBox="0 0 60 20" preserveAspectRatio="none" role="img" aria-label="{{row.hour.words}}"><title>{{row.hour.words}}</title><path class="waiting" d="{{row.hour.waiting}}"/><path class="rate" d="{{row.hour.rate}}"/></svg>\\
% else:
–\\
% end
</td></tr>
% end
</tbody>
</table>
</section>
<div class="arrow in {{"broken" if in_is_broken else ""}}">
% if now.subscribed is None:
<b>–</b><span>{{_("read by another process")}}</span>
% else:
<b>{{grouped(arrived)}}</b><span>{{_("answers: not read") if in_is_broken else ngettext("answer in the last minute", "answers in the last minute", arrived)}}</span>
% end
</div>
<section class="box answers" aria-labelledby="h-answers">
<h2 id="h-answers">{{_("Answers")}}</h2>
% if now.subscribed is None:
<p class="state">
% sign("idle")
{{_("read by another process")}}</p>
% else:
<p class="state">
% sign("ok" if now.subscribed else "stopped")
{{_("read") if now.subscribed else _("not read")}}</p>
% end
<dl>
<div><dt>{{_("waiting")}}</dt><dd>{{grouped(now.answers.ready) if now.answers.is_known else "?"}}</dd></div>
<div><dt>{{_("delayed/min")}}</dt><dd>{{"–" if now.subscribed is None else grouped(delayed)}}</dd></div>
<div class="{{"look" if now.errors.ready else ""}}"><dt>{{_("error queue")}}</dt><dd>{{grouped(now.errors.ready) if now.errors.is_known else "?"}}</dd></div>
</dl>
</section>
<div class="back {{"broken" if now.engine_trouble else ""}}"><span><b>{{"–" if now.subscribed is None else grouped(applied)}}</b> {{_("answers applied at the engine: stopped") if now.engine_trouble else ngettext("answer applied at the engine in the last minute", "answers applied at the engine in the last minute", applied)}}</span></div>
</main>
<div id="lately">
<section id="changes" aria-labelledby="h-changes">
<h2 id="h-changes">{{_("What changed in the last hour")}}</h2>
% if changes:
<ol>
% for change in changes:
<li>\\
% moment(change.moment)
 <span>{{translated(change.text)}}</span>\\
% if change.count > 1:
 <b>×{{grouped(change.count)}}</b>\\
% end
</li>
% end
</ol>
% else:
<p>{{_("nothing")}}</p>
% end
</section>
<section id="errors" aria-labelledby="h-errors">
<h2 id="h-errors">{{_("Last errors in the log")}}</h2>
% if errors:
<ol>
% for error in errors:
<li>\\
% moment(error.moment)
% if error.count > 1:
 <b>{{_("{number} times since {moment}").format(number=grouped(error.count), moment=error.since.strftime(AS_IN_THE_LOG))}}</b>\\
% end
 <span lang="en">{{error.text}}</span></li>
% end
</ol>
% else:
<p>{{_("none since the start")}}</p>
% end
</section>
</div>
<footer id="foot">{{_("version {version}, up {up}, as of {clock}").format(version=version, up=up, clock=clock)}} · <a href="metrics">metrics</a> · <a href="livez">livez</a> · <a href="readyz">readyz</a></footer>
