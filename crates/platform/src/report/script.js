(function(){
  "use strict";
  var NS = "http://www.w3.org/2000/svg";
  function add(parent, name, attributes, text){
    var node = parent.namespaceURI === NS ? document.createElementNS(NS, name) : document.createElement(name);
    for(var key in attributes) node.setAttribute(key, attributes[key]);
    if(text !== undefined) node.textContent = text;
    parent.appendChild(node);
    return node;
  }
  function text(value){
    var size = Math.abs(value);
    if(size !== 0 && (size < 1e-4 || size >= 1e12)) return value.toExponential(2);
    return (+value.toPrecision(size >= 1e4 ? 6 : 4)).toLocaleString("en", {maximumFractionDigits: 8});
  }
  //The read-out under the pointer.
  document.querySelectorAll("[data-chart]").forEach(function(plot){
    var data = null, svg = plot.querySelector("svg.ax"), group = null, tip = null;
    function leave(){
      if(group){ group.remove(); tip.remove(); group = tip = null; }
    }
    function fraction(range, value, log){
      if(log) return (Math.log(value) - Math.log(range[0])) / (Math.log(range[1]) - Math.log(range[0]));
      return (value - range[0]) / (range[1] - range[0]);
    }
    function move(event){
      data = data || JSON.parse(plot.dataset.chart);
      var box = plot.getBoundingClientRect();
      var at = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      var x = data.x[0] + at * (data.x[1] - data.x[0]);
      var best = null;
      var hits = data.s.map(function(series){
        var near = -1;
        series.x.forEach(function(value, i){
          if(value === null || series.y[i] === null || (data.log && series.y[i] <= 0)) return;
          if(near < 0 || Math.abs(value - x) < Math.abs(series.x[near] - x)) near = i;
        });
        if(near >= 0 && (best === null || Math.abs(series.x[near] - x) < Math.abs(best - x))) best = series.x[near];
        return near;
      });
      leave();
      if(best === null) return;
      var left = fraction(data.x, best) * 100;
      group = add(svg, "g", {});
      add(group, "line", {"class": "cur", x1: left + "%", x2: left + "%", y1: 0, y2: "100%"});
      tip = add(plot, "div", {"class": "tip"});
      add(tip, "div", {}, data.l ? data.l + ": " + text(best) : text(best));
      data.s.forEach(function(series, i){
        var near = hits[i];
        if(near < 0 || Math.abs(series.x[near] - best) > 0.02 * (data.x[1] - data.x[0])) return;
        var y = series.y[near];
        add(group, "circle", {"class": "hit " + series.c, r: 4, cx: fraction(data.x, series.x[near]) * 100 + "%", cy: (1 - fraction(data.y, y, data.log)) * 100 + "%"});
        var line = add(tip, "div", {});
        add(line, "i", {"class": series.c});
        add(line, "span", {}, series.n);
        add(line, "b", {}, text(y));
      });
      tip.style.top = "0";
      var place = left / 100 * box.width;
      var wide = tip.offsetWidth;
      var start = left < 50 ? place + 12 : place - 12 - wide;
      start = Math.min(start, window.innerWidth - box.left - wide - 8);
      tip.style.left = Math.max(start, 8 - box.left) + "px";
    }
    plot.addEventListener("pointermove", move);
    plot.addEventListener("pointerdown", move);
    plot.addEventListener("pointerleave", leave);
  });
  //Copying.
  document.querySelectorAll(".code button").forEach(function(button){
    var pre = button.parentNode.querySelector("pre");
    button.hidden = false;
    button.addEventListener("click", function(){
      function done(word){
        button.textContent = word;
        setTimeout(function(){ button.textContent = "Copy"; }, 1500);
      }
      function select(){
        getSelection().selectAllChildren(pre);
        done(document.execCommand("copy") ? "Copied" : "Press Ctrl-C");
      }
      if(navigator.clipboard) navigator.clipboard.writeText(pre.textContent).then(function(){ done("Copied"); }, select);
      else select();
    });
  });
  //Videos play while in sight, unless the reader wants no motion.
  var still = matchMedia("(prefers-reduced-motion:reduce)").matches;
  var videos = document.querySelectorAll("video");
  videos.forEach(function(video){
    video.muted = true;
    video.addEventListener("error", function(){
      var caption = video.parentNode.querySelector("figcaption");
      if(!caption.querySelector(".nocodec")) add(caption, "small", {"class": "nocodec"}, "This browser can't play this video's codec.");
    });
    if(still){ video.autoplay = false; video.pause(); }
  });
  if(!still && "IntersectionObserver" in window){
    var watch = new IntersectionObserver(function(entries){
      entries.forEach(function(entry){
        if(entry.isIntersecting) entry.target.play().catch(function(){});
        else entry.target.pause();
      });
    });
    videos.forEach(function(video){ watch.observe(video); });
  }
  //The section in sight, in the table of contents.
  var links = document.querySelectorAll("nav a");
  function mark(){
    var on = null;
    links.forEach(function(link){
      var section = document.getElementById(link.hash.slice(1));
      if(section && section.getBoundingClientRect().top < innerHeight * 0.35) on = link;
    });
    links.forEach(function(link){ link.classList.toggle("on", link === on); });
  }
  addEventListener("scroll", mark, {passive: true});
  mark();
})();
