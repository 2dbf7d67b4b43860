<!DOCTYPE html>
<html lang="{{language}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{title}}</title>
<link rel="icon" href="{{icon}}">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<style>{{!style}}</style>
</head>
<body>
<p id="stale" role="alert" hidden>{{_("The worker does not answer: what you see is old.")}}</p>
{{!fragment}}
<script>{{!script}}</script>
</body>
</html>
